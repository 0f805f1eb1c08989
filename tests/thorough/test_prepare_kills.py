"""`style_match.prepare` in a process that is killed at unplanned moments."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.curation.prepare.sources import HEADER, files_of, jpeg, photo, read_rows, write, write_source, write_table


def test_killed_at_any_moment_the_same_command_ends_with_the_same_bytes(run_command, cache: Path, tmp_path: Path):
    source = write_source(tmp_path / "source")
    rows = [list(row.values()) for row in read_rows(source)]
    for number in range(20, 220):
        write(source / f"photos/p{number}.jpg", jpeg(photo(number)))
        rows.append([f"p{number}", f"photos/p{number}.jpg", ("Chic", "Street")[number % 2], "High"])
    write_table(source / "profiles.csv", HEADER, rows)
    words = (f"source={source}", f"out={tmp_path / 'out'}")
    began = time.monotonic()
    run_command("prepare", words[0], f"out={tmp_path / 'whole'}")
    took = time.monotonic() - began
    line = [sys.executable, "-m", "style_match.prepare", *words]
    for share in (0.5, 0.7, 0.8, 0.9):
        process = subprocess.Popen(line, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(share * took)
        process.send_signal(signal.SIGKILL)
        process.wait()
    run_command("prepare", *words)
    whole, again = files_of(tmp_path / "whole"), files_of(tmp_path / "out")
    whole["prepared.html"] = whole["prepared.html"].replace(bytes(tmp_path / "whole"), bytes(tmp_path / "out"))
    assert again == whole
