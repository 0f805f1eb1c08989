"""Several processes (gloo) train as one process does on the joined batch."""

import os
from functools import partial

import pytest
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf

from style_match.cli import main
from style_match.data.sampler.pk import PKSampler
from style_match.models.loss.infonce import InfoNCE
from style_match.models.loss.triplet import Triplet
from style_match.training.callbacks import train
from style_match.training.devices import followers

from .several import train_each

INFONCE = InfoNCE(temperature=0.2, symmetric=True)
TRIPLET = Triplet(margin=0.5, reducer="avg_non_zero", symmetric=True)
DEFAULT = OmegaConf.to_container(OmegaConf.load(main.conf_dir() / "trainer" / "default.yaml"))
# Plain gradient descent at rate 1, a single step: the change of the weights is the gradient.
DESCEND = partial(torch.optim.SGD, lr=1.0)
ONE_STEP = {"max_epochs": 1, "limit_train_batches": 1}
STOPS_EARLY = {"max_epochs": 30, "early_stopping": {"patience": 1, "min_delta": 0.5}}


@pytest.fixture
def trainings(couple_data, style_data, matcher):
    """Makers of module and data, with the options of the Trainer, by name."""
    sampler = partial(PKSampler, num_classes=3, num_samples=4, num_batches=2)
    couples = partial(couple_data, batch_size=12)
    return {
        "infonce": (
            partial(matcher, loss=INFONCE, optimizer=DESCEND),
            partial(couples, num=40, num_photos=2),
            ONE_STEP,
        ),
        "triplet": (
            partial(matcher, loss=TRIPLET, optimizer=DESCEND),
            partial(style_data, num=60, num_photos=2, sampler=sampler),
            ONE_STEP,
        ),
        "epochs": (partial(matcher, lr=1e-3), couples, {"max_epochs": 3}),
        "stops early": (matcher, couples, STOPS_EARLY),
    }


def fitted(folder, trainings, devices):
    """Of each training: the weights, what was logged, and the Trainer."""
    jobs = {}
    for name, (make_model, make_data, options) in trainings.items():
        given = {**DEFAULT, "accelerator": "cpu", "devices": devices, "gradient_clip_val": None, **options}
        jobs[name] = partial(train, make_model(), make_data(), given, folder / name / str(devices), threads=1)
    work = partial(train_each, list(jobs.values()))
    with followers(work, devices - 1, backend="gloo", remedy=lambda: "Go on."):
        fits = work()
    assert not torch.distributed.is_initialized()
    results = {}
    for name, fit in zip(jobs, fits, strict=True):
        assert fit.world_size == devices
        state = {part: value.detach().double() for part, value in fit.lightning_module.state_dict().items()}
        results[name] = state, {part: float(value) for part, value in fit.callback_metrics.items()}, fit
    return results


def assert_same(one, other, untrained):
    """Losses, metrics, gradients and running statistics of a single step agree, and the step changed the head."""
    (state, logged, _), (shared_state, shared_logged, _) = one, other
    assert logged.keys() == shared_logged.keys()
    for name, value in logged.items():
        assert shared_logged[name] == pytest.approx(value, abs=1e-6, rel=1e-6), name
    for name, value in state.items():
        torch.testing.assert_close(
            shared_state[name], value, rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )
    for name in ("head.linear1.weight", "head.norm.running_mean"):
        assert not torch.equal(state[name].float(), untrained[name])


@pytest.mark.integration
@pytest.mark.slow
def test_two_processes_train_as_one_on_the_joined_batch(trainings, matcher, tmp_path):
    """All trainings of one follower, since its start takes most of the time."""
    one, two = (fitted(tmp_path, trainings, devices) for devices in (1, 2))
    for name in ("infonce", "triplet"):
        assert_same(one[name], two[name], matcher().state_dict())
    (_, logged, _), (_, shared, _) = one["epochs"], two["epochs"]
    for name in ("train/loss", "val/mrr"):
        assert shared[name] == pytest.approx(logged[name], rel=1e-4)
    # A process that went on would wait for the others for ever, or be gone when they wait for it.
    (*_, alone), (*_, together) = one["stops early"], two["stops early"]
    assert alone.current_epoch == together.current_epoch < 5
    kept = {path.name for path in (tmp_path / "stops early" / "2" / "checkpoints").iterdir()}
    assert kept == {"best.ckpt", "last.ckpt"}


@pytest.mark.thorough
def test_three_processes_train_as_one_on_the_joined_batch(trainings, matcher, tmp_path):
    couples = {"infonce": trainings["infonce"]}
    one, three = (fitted(tmp_path, couples, devices)["infonce"] for devices in (1, 3))
    assert_same(one, three, matcher().state_dict())


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
