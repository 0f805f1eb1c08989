"""Several processes (gloo) train as one process does on the joined batch."""

import os
from functools import partial

import pytest
import torch

from style_match.data.sampler.pk import PKSampler
from style_match.models.loss.infonce import InfoNCE
from style_match.models.loss.triplet import Triplet
from style_match.training.devices import processes

# Plain gradient descent at rate 1, a single step: the change of the weights is the gradient.
DESCEND = partial(torch.optim.SGD, lr=1.0)
ONE_STEP = {"max_epochs": 1, "limit_train_batches": 1, "gradient_clip_val": None}


@pytest.fixture
def fitted(trainer):
    """Fit on so many devices: the weights, what was logged, and the number of epochs."""

    def fit_on(devices, model, data, **options):
        fit = trainer(folder=f"{devices}", devices=devices, **options)
        with processes(fit.checkpoints.parent, devices):
            fit.fit(model, datamodule=data)
        assert fit.world_size == devices and not torch.distributed.is_initialized()
        assert {path.name for path in fit.checkpoints.iterdir()} == {"best.ckpt", "last.ckpt"}
        logged = {name: float(value) for name, value in fit.callback_metrics.items()}
        epochs = torch.load(fit.checkpoints / "last.ckpt", weights_only=True)["epoch"] + 1
        return {name: value.double() for name, value in model.state_dict().items()}, logged, epochs

    return fit_on


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.parametrize("task", ["couple", pytest.param("style", marks=pytest.mark.thorough)])
def test_a_step_is_that_of_the_joined_batch(couple_data, style_data, matcher, fitted, task):
    def data():
        if task == "couple":
            return couple_data(num=40, num_photos=2, batch_size=12)
        return style_data(num=60, sampler=partial(PKSampler, num_classes=3, num_samples=4, num_batches=2))

    triplet = Triplet(margin=0.5, reducer="avg_non_zero", symmetric=True)
    loss = InfoNCE(temperature=0.2, symmetric=True) if task == "couple" else triplet
    one, shared = (fitted(num, matcher(loss=loss, optimizer=DESCEND), data(), **ONE_STEP) for num in (1, 2))
    assert shared[1] == pytest.approx(one[1], abs=1e-6, rel=1e-6)
    for name, value in one[0].items():
        torch.testing.assert_close(shared[0][name], value, rtol=1e-6, atol=1e-6, msg=f"{name} differs")
    untrained = matcher().state_dict()
    for name in ("head.linear1.weight", "head.norm.running_mean"):
        assert not torch.equal(one[0][name].float(), untrained[name])


@pytest.mark.integration
@pytest.mark.slow
def test_all_processes_stop_early_after_the_same_epoch(couple_data, matcher, fitted):
    """A process that trained on would wait for the others for ever."""
    one, shared = (
        fitted(num, matcher(lr=1e-3), couple_data(batch_size=12), max_epochs=30, patience=1) for num in (1, 2)
    )
    assert one[2] == shared[2] < 30
    for name in ("train/loss", "val/mrr"):
        assert shared[1][name] == pytest.approx(one[1][name], rel=1e-4)


@pytest.mark.parametrize("task", ["couple", "style"])
@pytest.mark.parametrize("num", [2, 3])
def test_the_shares_of_the_processes_are_the_joined_batches(couple_data, style_data, task, num):
    data = couple_data(num=40, batch_size=12) if task == "couple" else style_data()
    whole = data.train_batches()
    shares = [data.train_batches(num_replicas=num, rank=rank) for rank in range(num)]
    for loader in (whole, *shares):
        loader.sampler.set_epoch(3)
    for batch, *parts in zip(whole, *shares, strict=True):
        rows = [tuple(row) for part in parts for row in part["features"].tolist()]
        assert len(set(rows)) == len(rows)  # nobody twice
        assert sorted(rows) == sorted(tuple(row) for row in batch["features"].tolist())
        assert sorted(torch.cat([part["labels"] for part in parts]).tolist()) == sorted(batch["labels"].tolist())
        assert len({len(part["labels"]) for part in parts}) == 1


def test_a_slurm_job_around_the_command_does_not_number_its_process(couple_data, matcher, trainer, monkeypatch):
    job = {"SLURM_NTASKS": "4", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_JOB_NAME": "jobs"}
    for name, value in (job | {"SLURM_JOB_ID": "7", "SLURM_NODELIST": "here"}).items():
        monkeypatch.setenv(name, value)
    fit = trainer(max_epochs=1)
    fit.fit(matcher(), couple_data())
    assert (fit.global_rank, fit.world_size) == (0, 1) and (fit.checkpoints / "last.ckpt").exists()
    assert all(os.environ[name] == value for name, value in job.items())
