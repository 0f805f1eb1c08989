"""What a user adds to the Trainer by the command line: callbacks, options, debug runs."""

import csv
import json
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from tests.commands import QUICK, SMALL_COUPLES, SMALL_STYLES
from tests.composed import composed

CALLBACK = """
from pathlib import Path
from lightning.pytorch.callbacks import Callback

class CountBatches(Callback):
    def __init__(self, file):
        self.file, self.num = Path(file), 0

    def on_train_batch_end(self, *_):
        self.num += 1
        self.file.write_text(str(self.num))
"""


def test_a_callback_and_an_option_of_ones_own(run_step, tmp_path: Path, monkeypatch):
    (tmp_path / "callbacks_of_mine.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(tmp_path)
    mine = ("+callbacks.mine._target_=callbacks_of_mine.CountBatches", f"+callbacks.mine.file={tmp_path / 'count'}")
    run_step("train", *SMALL_COUPLES, *mine, "+trainer.limit_train_batches=2", f"hydra.run.dir={tmp_path / 'run'}")
    assert (tmp_path / "count").read_text() == "4"  # two epochs of two batches
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["trained"]


@pytest.mark.slow
def test_a_run_with_a_callback_of_ones_own_is_evaluated_exported_and_resumed(run_step, tmp_path: Path, monkeypatch):
    (tmp_path / "callbacks_of_mine.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(tmp_path)
    mine = ("+callbacks.mine._target_=callbacks_of_mine.CountBatches", f"+callbacks.mine.file={tmp_path / 'count'}")
    run = f"run={tmp_path / 'run'}"
    run_step("train", *SMALL_COUPLES, *mine, f"hydra.run.dir={tmp_path / 'run'}")
    run_step("evaluate", run, f"hydra.run.dir={tmp_path / 'scored'}")
    run_step("export", run, f"out={tmp_path / 'matcher'}")
    refused = run_step("train", run, "ckpt_path=last", "trainer.max_epochs=3", code=2)
    assert "callbacks.mine._target_=callbacks_of_mine.CountBatches is not named by any config" in refused.stderr
    before = int((tmp_path / "count").read_text())
    metrics = (tmp_path / "run" / "metrics.json").read_bytes()
    resumed = run_step("train", run, "ckpt_path=last", "trainer.max_epochs=3", *mine)
    assert 0 < int((tmp_path / "count").read_text()) < before, "one more epoch"
    (kept,) = (tmp_path / "run" / "replaced").iterdir()
    assert f"its results will be replaced, and are kept in {kept}" in resumed.stderr
    assert (kept / "metrics.json").read_bytes() == metrics
    run_step("evaluate", f"run={kept}", f"hydra.run.dir={tmp_path / 'kept'}")
    sections = [json.loads((each / "metrics.json").read_text()) for each in (kept, tmp_path / "kept")]
    assert sections[0]["trained"] == sections[1]["trained"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+callbacks.mine._target_=no.such.Thing"], "callbacks.mine._target_=no.such.Thing cannot be imported"),
        (["+callbacks.mine._target_=lightning.Trainr"], "callbacks.mine._target_=lightning.Trainr cannot be imported"),
        (
            ["+callbacks.mine._target_=lightning.pytorch.callbacks.EarlyStopping"],
            "callbacks.mine._target_: EarlyStopping.__init__() missing 1 required",
        ),
        (["callbacks.mine._target_=my.Callback"], "To add it, set +callbacks.mine._target_=my.Callback."),
        (["loss._target_=no.such.Loss"], "_target_=no.such.Loss cannot be imported"),
    ],
)
def test_a_class_that_cannot_be_made_is_one_message_before_any_feature(run_step, tmp_path: Path, words, message):
    store = tmp_path / "features"
    places = (f"features.root={store}", f"hydra.run.dir={tmp_path / 'run'}")
    done = run_step("train", *SMALL_COUPLES, *places, *words, code=2)
    assert message in done.stderr and "HYDRA_FULL_ERROR" not in done.stderr
    assert not list(store.rglob("*.safetensors"))


def test_a_callback_has_no_effect_on_a_closed_form(run_step, tmp_path: Path, monkeypatch):
    (tmp_path / "callbacks_of_mine.py").write_text(CALLBACK)
    monkeypatch.syspath_prepend(tmp_path)
    mine = ("+callbacks.mine._target_=callbacks_of_mine.CountBatches", f"+callbacks.mine.file={tmp_path / 'count'}")
    closed = ("data.num_couples=40", "sampler.batch_size=8", "head=whitened", "head.dim=8", *QUICK)
    done = run_step("train", *closed, *mine, f"hydra.run.dir={tmp_path / 'run'}")
    assert "callbacks.mine has no effect: a closed form takes no steps" in done.stderr


def test_a_callback_that_is_left_out(run_step, tmp_path: Path):
    run_step("train", *SMALL_COUPLES, "~callbacks.early_stopping", f"hydra.run.dir={tmp_path}")
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("words", [SMALL_COUPLES, SMALL_STYLES], ids=["couples", "styles"])
def test_a_fast_dev_run_trains_and_tests_one_batch(run_step, tmp_path: Path, words):
    done = run_step("train", *words, "debug=fast_dev_run", f"hydra.run.dir={tmp_path}")
    assert "training: 1 epochs, 1 steps" in done.stderr
    assert not list(tmp_path.glob("checkpoints/*"))
    sections = {"chance", "frozen", "trained", "trained_minus_frozen", "val"}
    assert set(json.loads((tmp_path / "metrics.json").read_text())) == sections
    assert json.loads((tmp_path / "provenance.json").read_text())["selected"]["epoch"] is None


def test_overfitting_brings_the_loss_down(run_step, tmp_path: Path):
    words = ("debug=overfit", "trainer.max_epochs=6", "optimizer.lr=1e-2", f"hydra.run.dir={tmp_path}")
    run_step("train", *(word for word in SMALL_COUPLES if "max_epochs" not in word), *words)
    (path,) = tmp_path.glob("csv/version_0/metrics.csv")
    with open(path, newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row.get("train/loss")]
    assert len(losses) == 6 and losses[-1] < losses[0] / 2


def test_the_profiler_tells_where_the_time_went(run_step, tmp_path: Path):
    run_step("train", *SMALL_COUPLES, "debug=profiler", f"hydra.run.dir={tmp_path}")
    assert "run_training_epoch" in (tmp_path / "fit-profile.txt").read_text()


@pytest.mark.parametrize(
    ("word", "options"),
    [
        ("debug=fast_dev_run", {"fast_dev_run": True}),
        ("debug=overfit", {"overfit_batches": 2, "max_epochs": 50}),
        ("trainer=cpu", {"accelerator": "cpu", "precision": "32-true", "devices": 1}),
        ("trainer=gpu", {"accelerator": "gpu", "devices": 1}),
        ("trainer=ddp", {"strategy": "ddp_spawn", "devices": 2}),
    ],
)
def test_a_choice_changes_these_options_of_the_trainer_alone(word: str, options: dict):
    default, chosen = (OmegaConf.to_container(composed("train", *words).trainer) for words in ((), (word,)))
    assert chosen == default | options and chosen["_target_"] == "lightning.Trainer"
