"""Two processes (gloo) train as one process does on the joined batch."""

from functools import partial

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy

from style_match.loss.infonce import InfoNCE
from style_match.loss.triplet import Triplet
from style_match.sampler.pk import PKSampler

LOSSES = {
    "infonce": InfoNCE(temperature=0.2, symmetric=True),
    "triplet": Triplet(margin=0.5, reducer="avg_non_zero", symmetric=True),
}


def fitted(trainer, data, model, *, devices, folder, **options):
    fit = trainer(
        devices=devices,
        strategy="auto" if devices == 1 else DDPStrategy(process_group_backend="gloo", start_method="spawn"),
        folder=folder,
        gradient_clip_val=None,
        **options,
    )
    fit.fit(model, data)
    return {name: value.detach().double() for name, value in fit.lightning_module.state_dict().items()}, {
        name: float(value) for name, value in fit.callback_metrics.items()
    }


def assert_same(one, other):
    (state, logged), (shared_state, shared_logged) = one, other
    assert logged.keys() == shared_logged.keys()
    for name, value in logged.items():
        assert shared_logged[name] == pytest.approx(value, abs=1e-6, rel=1e-6), name
    for name, value in state.items():
        torch.testing.assert_close(
            shared_state[name], value, rtol=1e-6, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.slow
@pytest.mark.parametrize(("task", "loss"), [("couple", "infonce"), ("style", "triplet")])
def test_loss_gradient_and_batch_norm_are_those_of_the_joined_batch(
    couple_data, style_data, matcher, trainer, task, loss
):
    if task == "couple":
        make = partial(couple_data, num=40, num_photos=2, batch_size=12)
    else:
        sampler = partial(PKSampler, num_classes=3, num_samples=4, num_batches=2)
        make = partial(style_data, num=60, num_photos=2, sampler=sampler)
    # plain gradient descent at rate 1, a single step: the change of the weights is the gradient
    descend = partial(torch.optim.SGD, lr=1.0)
    results = []
    for devices in (1, 2):
        model = matcher(loss=LOSSES[loss], optimizer=descend)
        options = {"devices": devices, "folder": str(devices), "max_epochs": 1, "limit_train_batches": 1}
        results.append(fitted(trainer, make(), model, **options))
    assert_same(*results)
    untrained = matcher().state_dict()
    assert not torch.equal(results[0][0]["head.linear1.weight"].float(), untrained["head.linear1.weight"])
    assert not torch.equal(results[0][0]["head.norm.running_mean"].float(), untrained["head.norm.running_mean"])


@pytest.mark.slow
def test_whole_epochs_are_the_same_too(couple_data, matcher, trainer):
    results = [
        fitted(
            trainer, couple_data(batch_size=12), matcher(lr=1e-3), devices=devices, folder=str(devices), max_epochs=3
        )
        for devices in (1, 2)
    ]
    (_, logged), (_, shared) = results
    assert shared["train/loss"] == pytest.approx(logged["train/loss"], rel=1e-4)
    assert shared["val/mrr"] == pytest.approx(logged["val/mrr"], rel=1e-4)
