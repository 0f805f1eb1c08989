"""A run that is stopped at a named point and resumed ends with the result of one that was not, bit for bit.

Real kills, which run no `finally`, are in tests/smoke and, at random moments, in tests/thorough/test_kills.py.
"""

import gc
import json
import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from safetensors.torch import load_file

from style_match.data.datamodule import MatchDataModule
from style_match.training import loop, outputs
from style_match.training.callbacks import LastCheckpoint
from style_match.training.outputs import logged_rows
from tests.commands import SMALL_COUPLES

COMPARED = ("metrics.json", "ranks.parquet", "answers.parquet", "rejected.csv", "tsne.png")


class Stopped(BaseException):
    """Caught by nothing in the product, like a kill."""


@pytest.fixture
def stop_at(run_fresh, monkeypatch):
    """`stop_at(OWNER, NAME, COUNT, *words)` trains until that function is called for the COUNT-th time."""

    def stop(owner: object, name: str, count: int, *words: object) -> None:
        real, left = getattr(owner, name), count

        def called(*args, **options):
            nonlocal left
            left -= 1
            if left == 0:
                raise Stopped
            return real(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, called)
            with pytest.raises(Stopped):
                run_fresh("train", *words)
        gc.collect()  # the exception held the run folder's lock

    return stop


def differences(one: Path, other: Path) -> list[str]:
    """Which files of two run folders, and which facts in them, are not the same."""
    found = [name for name in COMPARED if (one / name).read_bytes() != (other / name).read_bytes()]
    facts = []
    for folder in (one, other):
        weights = {**load_file(folder / "embeddings.safetensors")}
        weights |= torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
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
    monkeypatch.setattr(CSVLogger, "log_metrics", lambda self, *_, **__: shutil.rmtree(folder, ignore_errors=True))
    done = run_fresh("train", *SMALL_COUPLES, f"hydra.run.dir={folder}", code=2)
    said = f"The run folder {folder} was removed during the run. Run the command again.\n"
    assert done.stderr.endswith(said) and "Traceback" not in done.stderr
    assert not folder.exists()


def test_a_folder_removed_before_the_training_is_noticed_though_a_logger_makes_it_again(
    run_fresh, tmp_path: Path, monkeypatch
):
    folder, removed = tmp_path / "run", []
    monkeypatch.setattr(
        MatchDataModule, "prepare_data", lambda self: removed.append(shutil.rmtree(folder)) if not removed else None
    )
    done = run_fresh("train", *SMALL_COUPLES, f"hydra.run.dir={folder}", code=2)
    assert f"The run folder {folder} was removed during the run" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_stopped_before_and_after_its_first_checkpoint(couples_run: Path, stop_at, run_fresh, tmp_path: Path):
    folder = tmp_path / "run"
    stop_at(LastCheckpoint, "on_train_epoch_end", 1, *SMALL_COUPLES, f"hydra.run.dir={folder}")
    assert not (folder / "checkpoints" / "last.ckpt").exists()
    stop_at(LastCheckpoint, "on_train_epoch_end", 2, f"run={folder}")
    assert torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 0
    done = run_fresh("train", f"run={folder}", "ckpt_path=last")
    assert "resumes after epoch 1 of 2" in done.stderr
    assert differences(couples_run, folder) == []


@pytest.mark.slow
def test_stopped_while_results_are_written_and_while_loggers_get_them(
    couples_run: Path, stop_at, run_fresh, tmp_path: Path, monkeypatch
):
    folder = tmp_path / "run"
    stop_at(outputs, "write_embeddings", 1, *SMALL_COUPLES, f"hydra.run.dir={folder}")
    assert not (folder / "metrics.json").exists()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loop, "finish", interrupted)
        done = run_fresh("train", f"run={folder}", "ckpt_path=last", code=130)
    assert "Stopped by Ctrl-C." in done.stderr
    assert (folder / "report.html").exists() and not (folder / "metrics.json").exists()
    run_fresh("train", f"run={folder}", "ckpt_path=last")
    assert differences(couples_run, folder) == []
    last = sorted(folder.glob("csv/version_*/metrics.csv"))[-1]
    assert "test/trained/mrr" in last.read_text()
