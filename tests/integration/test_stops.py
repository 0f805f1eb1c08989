"""A run that is stopped at a named point goes on to the result of one that was not, bit for bit.

A point is the moment in which a finished file would get its name. The step is stopped there by an exception, with the
unfinished file left beside the place as a kill leaves it. A real kill differs in two ways: it runs no `finally`, so
that loggers do not write their last lines, and it loses rows of features that wait for a full shard. Real kills are
in tests/smoke and, at random moments, in tests/thorough/test_kills.py.
"""

import gc
import json
import os
import shutil
from pathlib import Path

import pytest
import torch

from style_match.training.loggers import CSV
from style_match.training.outputs import logged_rows
from tests.commands import SMALL_COUPLES

COMPARED = ("metrics.json", "ranks.parquet", "answers.parquet", "embeddings.safetensors", "rejected.csv", "tsne.png")


class Stopped(BaseException):
    """Caught by nothing in the product, like a kill."""


@pytest.fixture
def stop_at(run_fresh, monkeypatch):
    """`stop_at(NAME, COUNT, *words)` trains until that file would get its name for the COUNT-th time."""

    def stop(name: str, count: int, *words: object) -> None:
        real, left = os.replace, count

        def replace(source, target, **options):
            nonlocal left
            left -= Path(target).name == name
            if left == 0:
                unfinished = Path(target).with_name(f".{name}.99999.tmp")  # what another process would leave
                unfinished.write_bytes(Path(source).read_bytes())
                raise Stopped
            real(source, target, **options)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            try:
                run_fresh("train", *words)
            except Stopped:
                pass
            else:
                raise AssertionError(f"{name} was not written {count} times")
        gc.collect()  # the exception held the run folder's lock

    return stop


def differences(one: Path, other: Path) -> list[str]:
    """Which files of two run folders, and which facts in them, are not the same."""
    found = [name for name in COMPARED if (one / name).read_bytes() != (other / name).read_bytes()]
    facts = []
    for folder in (one, other):
        weights = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        provenance = json.loads((folder / "provenance.json").read_text())
        epochs: dict[str, dict[str, str]] = {}
        for row in logged_rows(folder):
            if row.get("epoch"):  # not the row of the results
                epochs.setdefault(row["epoch"], {}).update({name: value for name, value in row.items() if value})
        facts.append(
            {
                "weights": {name: value.tolist() for name, value in weights.items()},
                "selected": provenance["selected"],
                "data": provenance["data"]["fingerprint"],
                "curves": epochs,
            }
        )
    found += [name for name, value in facts[0].items() if value != facts[1][name]]
    return found + [path.name for path in other.rglob("*.tmp")]


def test_the_same_command_leaves_the_same_bytes(couples_run: Path, run_fresh, tmp_path: Path):
    run_fresh("train", *SMALL_COUPLES, f"hydra.run.dir={tmp_path}")
    assert differences(couples_run, tmp_path) == []


def test_a_run_whose_folder_is_removed_is_one_message(run_fresh, tmp_path: Path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setattr(CSV, "log_metrics", lambda self, *_, **__: shutil.rmtree(folder, ignore_errors=True))
    done = run_fresh("train", *SMALL_COUPLES, f"hydra.run.dir={folder}", code=2)
    said = f"The run folder {folder} was removed while the run was at work. Run the command again.\n"
    assert done.stderr.endswith(said) and "Traceback" not in done.stderr
    assert not folder.exists()


@pytest.mark.slow
def test_stopped_before_and_after_its_first_checkpoint(couples_run: Path, stop_at, run_fresh, tmp_path: Path):
    folder = tmp_path / "run"
    stop_at("best.ckpt", 1, *SMALL_COUPLES, f"hydra.run.dir={folder}")
    assert not list(folder.glob("checkpoints/[bl]*"))
    stop_at("last.ckpt", 2, f"run={folder}")
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    done = run_fresh("train", f"run={folder}", "ckpt_path=last")
    assert "goes on after epoch 1 of 2" in done.stderr
    assert differences(couples_run, folder) == []


@pytest.mark.slow
def test_stopped_while_results_are_written_and_while_loggers_get_them(
    couples_run: Path, stop_at, run_fresh, tmp_path: Path, monkeypatch
):
    folder = tmp_path / "run"
    stop_at("embeddings.safetensors", 1, *SMALL_COUPLES, f"hydra.run.dir={folder}")
    assert not (folder / "metrics.json").exists()

    def interrupted(self, outcome):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(CSV, "log_outcome", interrupted)
        done = run_fresh("train", f"run={folder}", "ckpt_path=last", code=130)
    assert "Stopped by Ctrl-C." in done.stderr
    assert (folder / "report.html").exists() and not (folder / "metrics.json").exists()
    run_fresh("train", f"run={folder}", "ckpt_path=last")
    assert differences(couples_run, folder) == []
    (last,) = folder.glob("csv/version_2/metrics.csv")
    assert "test/trained/mrr" in last.read_text()
