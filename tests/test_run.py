import json
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from style_match.errors import UserError
from style_match.files import write_whole
from style_match.run import RunFolder, read_config

HOLD = "import sys, time; from pathlib import Path; from style_match.run import RunFolder; "
HOLD += "folder = RunFolder(Path(sys.argv[1]), resume=False); print('held', flush=True); time.sleep(60)"


def test_a_folder_that_holds_a_run_is_refused_unless_it_goes_on(tmp_path: Path):
    folder = RunFolder(tmp_path / "run", resume=False)
    folder.write_config(OmegaConf.create({"seed": 3, "again": "${seed}", "data": {}}))
    del folder
    with pytest.raises(UserError, match=r"already holds a run.*run="):
        RunFolder(tmp_path / "run", resume=False)
    RunFolder(tmp_path / "run", resume=True)
    assert read_config(tmp_path / "run") == {"seed": 3, "again": 3, "data": {}}


def test_two_processes_do_not_share_a_folder(tmp_path: Path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path.cwd())
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="Another process"):
            RunFolder(tmp_path, resume=True)
    finally:
        other.kill()
        other.wait()
    RunFolder(tmp_path, resume=True)  # a killed process holds nothing


def test_provenance_says_where_a_result_came_from(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    folder.write_provenance(seeds={"seed": 0})
    written = json.loads((tmp_path / "provenance.json").read_text())
    assert written == folder.provenance()
    assert {"seeds", "command", "git", "versions", "machine", "wall_time_s"} <= set(written)
    assert written["versions"]["python"].startswith("3.")


def test_a_run_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"run=.*nothing is not a run folder"):
        read_config(tmp_path / "nothing")


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_whole(tmp_path / "metrics.json", "old")

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"metrics\.json: No space left"):
        write_whole(tmp_path / "metrics.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert (tmp_path / "metrics.json").read_text() == "old"
