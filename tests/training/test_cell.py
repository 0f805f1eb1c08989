"""What a cell of a sweep makes of what its folder holds."""

import json
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

from style_match.training.resuming import Earlier, settle
from style_match.training.run_folder import RunFolder
from style_match.utils.errors import UserError

CONFIG = {
    "data": {"root": "/data", "num_workers": 0},
    "head": {"dim": 8},
    "backbone": {"token_budget": 100, "device": "cpu"},
}
INPUTS: Any = SimpleNamespace(
    folder=SimpleNamespace(fingerprint=lambda _: "data"), fingerprints=None, store=SimpleNamespace(key="key")
)


def settled(path: Path, *, code: str = "now", choices: dict | None = None, **changes: Any) -> Earlier:
    """What `settle` answers a command with other options (`head__dim=9`), code or choices than the first one's."""
    folder = RunFolder(path, resume=True)
    folder.environment |= {"code": code, "choices": choices or {}}
    cfg = OmegaConf.create(CONFIG)
    for name, value in changes.items():
        OmegaConf.update(cfg, name.replace("__", "."), value, force_add=True)
    try:
        return settle(cfg, folder, INPUTS)
    finally:
        for lock in folder._locks:
            lock.close()


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


def test_a_cell_that_had_no_checkpoint_yet_is_filed_under_the_recipe_that_runs(tmp_path: Path):
    cell = tmp_path / "sweep" / "0"
    settled(cell, choices={"recipe": "paper"})
    was = provenance(cell)
    (cell / "provenance.json").write_text(json.dumps(was | {"wall_time_s": 900.0}))
    (cell / "csv").mkdir()
    assert settled(cell, choices={"recipe": "pair_lda"}, head__dim=24) == Earlier()
    assert provenance(cell)["choices"] == {"recipe": "pair_lda"}
    assert provenance(cell)["wall_time_s"] < 100
    assert not (cell / "csv").exists(), "curves of another recipe"
    (old,) = replaced(cell)
    assert provenance(old)["choices"] == {"recipe": "paper"}


def test_a_killed_cell_goes_on_and_its_time_adds_up(tmp_path: Path):
    settled(tmp_path / "0", choices={"recipe": "paper"})
    leave(tmp_path / "0", finished=False)
    was = provenance(tmp_path / "0")
    (tmp_path / "0" / "provenance.json").write_text(json.dumps(was | {"wall_time_s": 900.0}))
    assert settled(tmp_path / "0").checkpoint == tmp_path / "0" / "checkpoints" / "last.ckpt"
    assert provenance(tmp_path / "0")["wall_time_s"] > 900


@pytest.mark.parametrize(
    "pace", [{"backbone__token_budget": 7}, {"data__num_workers": 3}, {"features__root": "/store"}, {"progress": False}]
)
def test_a_finished_cell_may_be_asked_for_at_another_pace(tmp_path: Path, pace: dict):
    settled(tmp_path / "0")
    leave(tmp_path / "0", finished=True)
    assert settled(tmp_path / "0", **pace).val_mrr == 0.5
    with pytest.raises(UserError, match=r"holds a run with another head\.dim: give another hydra\.sweep\.dir"):
        settled(tmp_path / "0", head__dim=9, **pace)


def test_an_option_that_newer_code_adds_runs_a_cell_anew(tmp_path: Path):
    cell = tmp_path / "sweep" / "0"
    settled(cell, code="old")
    leave(cell, finished=True)
    with pytest.raises(UserError, match=r"another head\.dim: "):
        settled(cell, code="new", head__more=1, head__dim=9)
    assert settled(cell, code="new", head__more=1) == Earlier()
    assert (replaced(cell)[0] / "metrics.json").exists() and not (cell / "metrics.json").exists()
    leave(cell, finished=True)
    with pytest.raises(UserError, match=r"another head\.less"):
        settled(cell, code="new", head__more=1, head__less=2)


@pytest.mark.parametrize("at", range(1, 5))
def test_a_kill_while_an_old_cell_is_moved_away_costs_nothing(tmp_path: Path, monkeypatch, at: int):
    """Killed after each of the moves that there are; the same command then runs the cell anew, the old one whole."""
    cell = tmp_path / "sweep" / "0"
    settled(cell, code="old")
    leave(cell, finished=True)
    done, rename, mkdir = [], Path.rename, Path.mkdir

    def killed_in(move):
        def call(self: Path, *words: Any, **options: Any) -> Any:
            result = move(self, *words, **options)
            if cell in (self, self.parent):
                done.append(self)
                if len(done) == at:
                    raise KeyboardInterrupt
            return result

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed_in(rename))
        patched.setattr(Path, "mkdir", killed_in(mkdir))
        with suppress(KeyboardInterrupt):
            settled(cell, code="new")
    assert settled(cell, code="new") == Earlier()
    (old,) = replaced(cell)
    assert {path.name for path in old.iterdir()} >= {"config.yaml", "provenance.json", "metrics.json", "checkpoints"}
