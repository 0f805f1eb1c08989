"""Training that is killed and resumed ends where uninterrupted training ends, bit for bit."""

import csv

import pytest
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import CSVLogger


def same(one, other):
    """Whether two nested structures of tensors and plain values are equal bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def outcome(fit):
    last, best = (torch.load(fit.checkpoints / f"{name}.ckpt", weights_only=True) for name in ("last", "best"))
    return {
        "last": [last[key] for key in ("state_dict", "optimizer_states", "lr_schedulers", "epoch", "global_step")],
        "best": [best[key] for key in ("state_dict", "epoch", "global_step")],
        "metrics": {name: float(value) for name, value in fit.callback_metrics.items()},
    }


class Kill(Callback):
    def __init__(self, epoch, batch):
        self.when = (epoch, batch)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == self.when:
            raise SystemExit("killed")


@pytest.fixture
def uninterrupted(couple_data, matcher, trainer):
    fit = trainer(max_epochs=6, folder="whole")
    fit.fit(matcher(), couple_data(num_photos=2))
    return outcome(fit)


@pytest.mark.parametrize("when", [(1, 0), (3, 2)])
def test_killed_in_an_epoch_and_resumed(couple_data, matcher, trainer, uninterrupted, when):
    first = trainer(max_epochs=6)
    first.callbacks.insert(0, Kill(*when))
    with pytest.raises(SystemExit, match="killed"):
        first.fit(matcher(), couple_data(num_photos=2))
    second = trainer(max_epochs=6)
    second.fit(matcher(seed=9), couple_data(num_photos=2), ckpt_path=first.checkpoints / "last.ckpt", weights_only=True)
    assert same(outcome(second), uninterrupted)


def test_the_logs_hold_the_validation_of_every_epoch_that_a_checkpoint_has(couple_data, matcher, trainer, tmp_path):
    class KillAfterCheckpoint(Checkpoint):
        def on_train_epoch_end(self, trainer, module):
            if trainer.current_epoch == 1:
                raise SystemExit("killed")

    fit = trainer(max_epochs=6, logger=CSVLogger(tmp_path, flush_logs_every_n_steps=1), checkpoint_every_s=0)
    fit.callbacks.append(KillAfterCheckpoint())
    with pytest.raises(SystemExit, match="killed"):
        fit.fit(matcher(), couple_data())
    assert torch.load(fit.checkpoints / "last.ckpt", weights_only=True)["epoch"] == 1
    (path,) = tmp_path.rglob("metrics.csv")
    with open(path, newline="") as file:
        assert [row["epoch"] for row in csv.DictReader(file) if row["val/mrr"]] == ["0", "1"]
