import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from style_match.cli.run_config import read_config
from style_match.training import run_folder
from style_match.training.run_folder import RunFolder
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole

HOLD = "import sys, time; from pathlib import Path; from style_match.training.run_folder import RunFolder; "
HOLD += "folder = RunFolder(Path(sys.argv[1]), resume=False); print('held', flush=True); time.sleep(60)"


def test_a_folder_that_holds_a_run_is_refused_unless_it_goes_on(tmp_path: Path):
    folder = RunFolder(tmp_path / "run", resume=False)
    folder.write_config(OmegaConf.create({"seed": 3, "again": "${seed}", "data": {}}))
    del folder
    with pytest.raises(UserError, match=r"already contains a run.*run="):
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


def test_a_folder_that_is_removed_while_it_is_written_is_one_message(tmp_path: Path):
    path = tmp_path / "run"
    folder = RunFolder(path, resume=False)
    with pytest.raises(ZeroDivisionError), folder.watched():
        raise ZeroDivisionError
    with (
        pytest.raises(UserError, match=r"run was removed during the run\. Run the command again\."),
        folder.watched(),
    ):
        shutil.rmtree(path)
        path.mkdir()  # by whatever writes there next
        folder.write_text("sub/seen.txt", "")


def test_provenance_says_where_a_result_came_from(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    folder.write_provenance(seeds={"seed": 0})
    written = json.loads((tmp_path / "provenance.json").read_text())
    assert written == folder.provenance()
    assert {"seeds", "command", "git", "versions", "machine", "wall_time_s"} <= set(written)
    assert written["versions"]["python"].startswith("3.")


def test_a_run_whose_data_changed_is_not_resumed(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture):
    def inputs(fingerprint: str) -> Any:
        data = SimpleNamespace(root=Path("/data"), fingerprint=lambda _: fingerprint)
        return SimpleNamespace(folder=data, fingerprints=None, store=SimpleNamespace(key="k"))

    monkeypatch.setattr(run_folder, "checkpoint_to_resume", lambda *_: None)
    folder, cfg = RunFolder(tmp_path, resume=False), OmegaConf.create({"run": "R"})
    folder.find_earlier_run(cfg, inputs("any"))
    assert "has no fingerprint of its data" in capsys.readouterr().err
    folder.begin(cfg, inputs("as it was"))
    folder.find_earlier_run(cfg, inputs("as it was"))
    with pytest.raises(UserError, match=rf"/data has changed since the run {tmp_path} started"):
        folder.find_earlier_run(cfg, inputs("with another row"))


def test_wall_time_adds_up_over_the_processes_of_a_run(tmp_path: Path):
    folder = RunFolder(tmp_path, resume=False)
    folder.started_at -= 100
    folder.write_provenance()
    (tmp_path / "checkpoints").mkdir()
    last = tmp_path / "checkpoints" / "last.ckpt"
    last.touch()
    written = (tmp_path / "provenance.json").stat().st_mtime
    os.utime(last, (written + 50, written + 50))  # it was killed some time after this
    del folder
    again = RunFolder(tmp_path, resume=True)
    again.started_at -= 1000
    again.write_provenance()
    assert 1150 <= again.provenance()["wall_time_s"] < 1150 + 60
    del again
    assert RunFolder(tmp_path, resume=True).earlier_time_s >= 1150


def test_an_evaluation_has_the_choices_of_its_run_and_its_own_over_them(tmp_path: Path, monkeypatch):
    run, own = tmp_path / "run", RunFolder(tmp_path / "evaluation", resume=False)
    run.mkdir()
    (run / "provenance.json").write_text('{"choices": {"recipe": "mine", "row": "first", "data": "couples"}}')
    own.environment["choices"] = {"recipe": None, "data": "demo_couples", "evaluation": "default"}
    config = OmegaConf.create({"overrides": {"task": [f"run={run}", "data=demo_couples"]}})
    monkeypatch.setattr("style_match.training.run_folder.HydraConfig.get", lambda: config)
    own.inherit_choices(run)
    assert own.environment["choices"] == {"recipe": "mine", "row": "first", "data": "demo_couples"}
    own.inherit_choices(tmp_path / "not a run")
    assert own.environment["choices"]["recipe"] == "mine"


def test_a_run_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"run=.*nothing: there is no such folder"):
        read_config(tmp_path / "nothing")


def test_a_run_killed_before_its_config_is_begun_again(tmp_path: Path):
    with pytest.raises(UserError, match=rf"repeat its command with hydra\.run\.dir={tmp_path}"):
        read_config(tmp_path)


def test_what_a_kill_left_half_written_is_removed(tmp_path: Path):
    (tmp_path / "checkpoints").mkdir()
    for path in (tmp_path / ".metrics.json.123.tmp", tmp_path / "checkpoints" / ".last.ckpt.123.tmp"):
        path.write_text("half")
    (tmp_path / ".mine.tmp").touch()
    RunFolder(tmp_path, resume=True)
    assert {path.name for path in tmp_path.rglob("*")} == {".lock", "checkpoints", ".mine.tmp"}


def test_an_interrupt_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_whole(tmp_path / "metrics.json", "old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "metrics.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert (tmp_path / "metrics.json").read_text() == "old"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_whole(tmp_path / "metrics.json", "old")

    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"metrics\.json: No space left"):
        write_whole(tmp_path / "metrics.json", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    assert (tmp_path / "metrics.json").read_text() == "old"
