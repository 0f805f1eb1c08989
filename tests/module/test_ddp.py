"""Several processes (gloo) train as one process does on the joined batch."""

import os
from functools import partial

import pytest
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf

from style_match import cli
from style_match.followers import followers
from style_match.loss.infonce import InfoNCE
from style_match.loss.triplet import Triplet
from style_match.sampler.pk import PKSampler
from style_match.trainer import train

LOSSES = {
    "infonce": InfoNCE(temperature=0.2, symmetric=True),
    "triplet": Triplet(margin=0.5, reducer="avg_non_zero", symmetric=True),
}
DEFAULT = OmegaConf.to_container(OmegaConf.load(cli.conf_dir() / "trainer" / "default.yaml"))


def fitted(folder, data, model, *, devices, **options):
    """The weights, what was logged, and the Trainer."""
    given = {**DEFAULT, "accelerator": "cpu", "devices": devices, "gradient_clip_val": None, **options}
    work = partial(train, model, data, given, folder / str(devices), threads=1)
    with followers(work, devices - 1, backend="gloo", remedy=lambda: "Go on."):
        fit = work()
    assert not torch.distributed.is_initialized()
    state = {name: value.detach().double() for name, value in fit.lightning_module.state_dict().items()}
    return state, {name: float(value) for name, value in fit.callback_metrics.items()}, fit


def assert_same(one, other):
    (state, logged, _), (shared_state, shared_logged, _) = one, other
    assert logged.keys() == shared_logged.keys()
    for name, value in logged.items():
        assert shared_logged[name] == pytest.approx(value, abs=1e-6, rel=1e-6), name
    for name, value in state.items():
        torch.testing.assert_close(
            shared_state[name], value, rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "loss", "devices"), [("couple", "infonce", 2), ("style", "triplet", 2), ("couple", "infonce", 3)]
)
def test_loss_gradient_and_batch_norm_are_those_of_the_joined_batch(
    couple_data, style_data, matcher, tmp_path, task, loss, devices
):
    if task == "couple":
        make = partial(couple_data, num=40, num_photos=2, batch_size=12)
    else:
        sampler = partial(PKSampler, num_classes=3, num_samples=4, num_batches=2)
        make = partial(style_data, num=60, num_photos=2, sampler=sampler)
    # plain gradient descent at rate 1, a single step: the change of the weights is the gradient
    descend = partial(torch.optim.SGD, lr=1.0)
    results = []
    for num in (1, devices):
        model = matcher(loss=LOSSES[loss], optimizer=descend)
        results.append(fitted(tmp_path, make(), model, devices=num, max_epochs=1, limit_train_batches=1))
    assert_same(*results)
    assert [fit.world_size for *_, fit in results] == [1, devices]
    untrained = matcher().state_dict()
    assert not torch.equal(results[0][0]["head.linear1.weight"].float(), untrained["head.linear1.weight"])
    assert not torch.equal(results[0][0]["head.norm.running_mean"].float(), untrained["head.norm.running_mean"])


@pytest.mark.slow
def test_whole_epochs_are_the_same_too(couple_data, matcher, tmp_path):
    results = [
        fitted(tmp_path, couple_data(batch_size=12), matcher(lr=1e-3), devices=devices, max_epochs=3)
        for devices in (1, 2)
    ]
    (_, logged, _), (_, shared, _) = results
    assert shared["train/loss"] == pytest.approx(logged["train/loss"], rel=1e-4)
    assert shared["val/mrr"] == pytest.approx(logged["val/mrr"], rel=1e-4)


@pytest.mark.slow
def test_all_processes_stop_early_at_the_same_epoch(couple_data, matcher, tmp_path):
    """One that went on would wait for the others for ever, or be gone when they wait for it."""
    options = {"max_epochs": 30, "early_stopping": {"patience": 1, "min_delta": 0.5}}
    (_, _, one), (_, _, two) = (
        fitted(tmp_path, couple_data(batch_size=12), matcher(), devices=devices, **options) for devices in (1, 2)
    )
    assert one.current_epoch == two.current_epoch < 5
    assert {path.name for path in (tmp_path / "2" / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


@pytest.mark.parametrize("task", ["couple", "style"])
@pytest.mark.parametrize("num", [2, 3])
def test_the_shares_of_the_processes_are_the_joined_batches(couple_data, style_data, task, num):
    data = couple_data(num=40, batch_size=12) if task == "couple" else style_data()
    whole = data.train_batches()
    shares = [data.train_batches(num_replicas=num, rank=rank) for rank in range(num)]
    for loader in (whole, *shares):
        loader.set_epoch(3)
    for batch, *parts in zip(whole, *shares, strict=True):
        rows = [tuple(row) for part in parts for row in part["features"].tolist()]
        assert len(set(rows)) == len(rows)  # nobody twice
        assert sorted(rows) == sorted(tuple(row) for row in batch["features"].tolist())
        assert sorted(torch.cat([part["labels"] for part in parts]).tolist()) == sorted(batch["labels"].tolist())
        assert len({len(part["labels"]) for part in parts}) == 1


class Seen(Callback):
    def on_train_start(self, trainer, pl_module):
        self.environment = trainer._accelerator_connector.cluster_environment
        self.slurm = SLURMEnvironment.detect()
        self.rank, self.size = trainer.global_rank, trainer.world_size


def test_a_job_around_the_command_is_not_taken_for_its_own(couple_data, matcher, trainer, monkeypatch):
    """Lightning would judge the job's tasks, take this process for its third, and answer the job's signals."""
    plain = trainer(max_epochs=1, folder="plain")
    plain.fit(matcher(), couple_data())
    of_the_job = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_JOB_NAME": "cells"}
    of_the_job |= {"SLURM_JOB_ID": "7", "SLURM_NODELIST": "here", "LOCAL_RANK": "3", "RANK": "3", "WORLD_SIZE": "4"}
    of_the_job |= {"GROUP_RANK": "1", "TORCHELASTIC_RUN_ID": "8", "MASTER_ADDR": "nowhere", "MASTER_PORT": "1"}
    for name, value in of_the_job.items():
        monkeypatch.setenv(name, value)
    fit, seen = trainer(max_epochs=1), Seen()
    fit.callbacks.append(seen)
    fit.fit(matcher(), couple_data())
    assert seen.slurm and not isinstance(seen.environment, SLURMEnvironment)
    assert (seen.rank, seen.size) == (0, 1)
    assert all(os.environ[name] == value for name, value in of_the_job.items())
    one, other = (torch.load(each.checkpoints / "last.ckpt", weights_only=True) for each in (plain, fit))
    assert all(torch.equal(value, other["state_dict"][name]) for name, value in one["state_dict"].items())
