"""A job of a sweep in a folder that already has a run: new, resumed, finished, or refused."""

import json
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from style_match.training.run_folder import RunFolder
from style_match.utils.errors import UserError

CONFIG = {
    "data": {"root": "/data", "num_workers": 0},
    "head": {"dim": 8},
    "backbone": {"token_budget": 100, "device": "cpu"},
}
Outcome = tuple[Path | None, float | None]  # checkpoint to resume from, val/mrr of a finished job
NEW: Outcome = (None, None)


def begin(path: Path, *, code: str = "now", choices: dict | None = None, data: str = "data", **changes: Any) -> Outcome:
    """Open the folder of a job with changed options (`head__dim=9`), code, data or choices, and begin its run."""
    folder = RunFolder(path, resume=True)
    folder.is_job = True
    folder.environment |= {"code": code, "choices": choices or {}}
    cfg = OmegaConf.create(CONFIG)
    for name, value in changes.items():
        OmegaConf.update(cfg, name.replace("__", "."), value, force_add=True)
    try:
        folder.find_earlier_run(cfg, inputs(data))
        if folder.val_mrr is None:
            folder.begin(cfg, inputs(data))
        return folder.checkpoint, folder.val_mrr
    finally:
        for lock in folder._locks:
            lock.close()


def inputs(data: str) -> Any:
    """Inputs of a run whose dataset has this fingerprint."""
    folder = SimpleNamespace(fingerprint=lambda _: data)
    return SimpleNamespace(folder=folder, fingerprints=None, store=SimpleNamespace(key="key"))


def leave(path: Path, *, finished: bool) -> None:
    """A checkpoint and, of a finished run, its results."""
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "last.ckpt").write_text("weights")
    if finished:
        (path / "metrics.json").write_text(json.dumps({"val": {"mrr": {"value": 0.5}}}))


def provenance(path: Path) -> dict:
    return json.loads((path / "provenance.json").read_text())


def replaced(path: Path) -> list[Path]:
    return sorted(path.parent.glob("replaced/*"))


def test_a_job_without_a_checkpoint_is_run_again_with_other_options(tmp_path: Path):
    job = tmp_path / "sweep" / "0"
    begin(job, choices={"recipe": "paper"})
    was = provenance(job)
    (job / "provenance.json").write_text(json.dumps(was | {"wall_time_s": 900.0}))
    (job / "csv").mkdir()
    assert begin(job, choices={"recipe": "pair_lda"}, head__dim=24) == NEW
    assert provenance(job)["choices"] == {"recipe": "pair_lda"}
    assert provenance(job)["wall_time_s"] < 100
    assert not (job / "csv").exists(), "curves of another recipe"
    (old,) = replaced(job)
    assert provenance(old)["choices"] == {"recipe": "paper"}


def test_a_killed_job_is_resumed_and_its_time_adds_up(tmp_path: Path):
    begin(tmp_path / "0", choices={"recipe": "paper"})
    leave(tmp_path / "0", finished=False)
    was = provenance(tmp_path / "0")
    (tmp_path / "0" / "provenance.json").write_text(json.dumps(was | {"wall_time_s": 900.0}))
    assert begin(tmp_path / "0") == (tmp_path / "0" / "checkpoints" / "last.ckpt", None)
    assert provenance(tmp_path / "0")["wall_time_s"] > 900


@pytest.mark.parametrize(
    "options",
    [{"backbone__token_budget": 7}, {"data__num_workers": 3}, {"features__root": "/store"}, {"progress": False}],
)
def test_options_without_effect_on_results_may_change(tmp_path: Path, options: dict):
    begin(tmp_path / "0")
    leave(tmp_path / "0", finished=True)
    assert begin(tmp_path / "0", **options) == (None, 0.5)
    with pytest.raises(UserError, match=r"contains a run with a different head\.dim\. Use a new hydra\.sweep\.dir"):
        begin(tmp_path / "0", head__dim=9, **options)


def test_a_finished_job_stays_finished_when_the_code_changes(tmp_path: Path):
    job = tmp_path / "sweep" / "0"
    begin(job, code="old")
    leave(job, finished=True)
    assert begin(job, code="new") == (None, 0.5) and replaced(job) == []
    assert begin(job, code="new", head__more=1) == (None, 0.5), "newer code may add options"
    with pytest.raises(UserError, match=r"different head\.dim\. "):
        begin(job, code="new", head__more=1, head__dim=9)
    with pytest.raises(UserError, match=r"different head\.more"):
        begin(job, code="old", head__more=1)


def test_a_job_runs_again_on_other_data(tmp_path: Path):
    job = tmp_path / "sweep" / "0"
    begin(job)
    leave(job, finished=True)
    assert begin(job, data="changed") == NEW
    assert (replaced(job)[0] / "metrics.json").exists() and not (job / "metrics.json").exists()
    leave(job, finished=True)
    assert begin(job, data="changed") == (None, 0.5)


@pytest.mark.parametrize("at", range(1, 5))
def test_a_kill_while_an_old_job_is_moved_loses_nothing(tmp_path: Path, monkeypatch, at: int):
    """Killed after each step of the move, the same command runs the job again, and the old run is complete."""
    job = tmp_path / "sweep" / "0"
    begin(job, data="old")
    leave(job, finished=True)
    done, rename, mkdir = [], Path.rename, Path.mkdir

    def killed_in(move):
        def call(self: Path, *words: Any, **options: Any) -> Any:
            result = move(self, *words, **options)
            if job in (self, self.parent):
                done.append(self)
                if len(done) == at:
                    raise KeyboardInterrupt
            return result

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed_in(rename))
        patched.setattr(Path, "mkdir", killed_in(mkdir))
        with suppress(KeyboardInterrupt):
            begin(job, data="new")
    assert begin(job, data="new") == NEW
    (old,) = replaced(job)
    assert {path.name for path in old.iterdir()} >= {"config.yaml", "provenance.json", "metrics.json", "checkpoints"}
