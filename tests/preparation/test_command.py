"""The step as a user types it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .sources import HEADER, files_of, jpeg, photo, read_rows, write, write_table


def command(cache: Path, *words: object) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "style_match.prepare", *map(str, words)], {
        **os.environ,
        "STYLE_MATCH_CACHE": str(cache),
    }


def call(cache: Path, *words: object) -> subprocess.CompletedProcess[str]:
    line, environment = command(cache, *words)
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_the_command_prints_counts_paths_and_the_next_command(source, cache, tmp_path: Path):
    out = tmp_path / "out"
    done = call(cache, f"source={source}", f"out={out}")
    assert done.returncode == 0, done.stderr
    assert "photos kept" in done.stdout and str(out / "prepared.html") in done.stdout
    assert f"python -m style_match.train data=styles data.root={out}" in done.stdout
    assert "kind=tables" in done.stderr
    assert (out / "prepared.html").stat().st_size > 1000
    assert "Nothing changed" in call(cache, f"source={source}", f"out={out}").stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "source is needed: write source=FOLDER"),
        (("source=gone", "out=x"), "there is no such folder"),
        (("source=.", "out=x", "kind=tabels"), "Did you mean kind=tables?"),
        (("source=.", "out=x", "leave_out.visual_qualty=[]"), "leave_out.visual_quality"),
        (("source=.", "out=x", "photos=move"), "Write copy or link"),
    ],
)
def test_a_mistake_is_one_message_and_no_traceback(words, said, cache):
    done = call(cache, *words)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_killed_at_any_moment_the_same_command_ends_with_the_same_bytes(source, cache, tmp_path: Path):
    rows = [list(row.values()) for row in read_rows(source)]
    for number in range(20, 220):
        write(source / f"photos/p{number}.jpg", jpeg(photo(number)))
        rows.append([f"p{number}", f"photos/p{number}.jpg", ("Chic", "Street")[number % 2], "High"])
    write_table(source / "profiles.csv", HEADER, rows)
    began = time.monotonic()
    assert call(cache, f"source={source}", f"out={tmp_path / 'whole'}").returncode == 0
    took = time.monotonic() - began
    line, environment = command(cache, f"source={source}", f"out={tmp_path / 'out'}")
    for share in (0.5, 0.7, 0.8, 0.9):
        process = subprocess.Popen(line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(share * took)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert call(cache, f"source={source}", f"out={tmp_path / 'out'}").returncode == 0
    whole, again = files_of(tmp_path / "whole"), files_of(tmp_path / "out")
    whole["prepared.html"] = whole["prepared.html"].replace(bytes(tmp_path / "whole"), bytes(tmp_path / "out"))
    assert again == whole
