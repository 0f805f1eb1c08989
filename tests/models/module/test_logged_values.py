"""Logged values and gradients, against means and sums written out over items, steps and members of an ensemble."""

import math
from collections import defaultdict
from functools import partial

import pytest
import torch

from style_match.data.datamodule import TrainSet
from style_match.models.head.ensemble import Ensemble
from style_match.models.head.mlp import MLP
from tests.models.module.conftest import DIM

SMALL = partial(MLP, hidden_dim=32, dim=16, bias=False, standardize=False)
TEMPERATURE = 0.2  # of the fixture `matcher`


def validated(data, model, fit):
    """What a validation logs, and the embeddings of all photos."""
    model.head.fit_closed(TrainSet(photos=data.features))
    fit.validate(model, data, verbose=False)
    with torch.no_grad():
        e = model.eval().head(data.features)
    return {name: float(value) for name, value in fit.callback_metrics.items()}, e.double()


def infonce(anchor, positives, negatives):
    """Eq. 4 of the paper, its mean over the positives."""
    rivals = sum(math.exp(anchor @ other / TEMPERATURE) for other in negatives)
    own = [math.exp(anchor @ other / TEMPERATURE) for other in positives]
    return sum(-math.log(each / (each + rivals)) for each in own) / len(own)


def test_val_loss_weights_batches_of_couples_by_their_size(couple_data, matcher, trainer):
    """A chain of four couples among twelve: only its first and last one may be in the same batch of the loss."""
    chain = [(36, 96), (36, 97), (37, 97), (37, 98)]
    couples = [*((i, 60 + i) for i in range(36)), *chain, *((i, 60 + i) for i in range(40, 60))]
    data = couple_data(couples=couples)
    logged, e = validated(data, matcher(), trainer())
    batches = [sorted(batch.tolist()) for batch in data.gallery("val", with_loss=True).loss_batches]
    assert sorted(map(len, batches)) == [9, 9, 10] and {i for batch in batches for i in batch} == set(range(12))
    losses, similarities = [], []
    for batch in batches:
        left, right = ([e[couples[36 + i][side]] for i in batch] for side in (0, 1))
        for i in range(len(batch)):
            losses.append(infonce(left[i], [right[i]], right[:i] + right[i + 1 :]))
            similarities.append(float(left[i] @ right[i]))
    assert logged["val/loss"] == pytest.approx(sum(losses) / 28, abs=1e-5)
    assert logged["val/pos_similarity"] == pytest.approx(sum(similarities) / 28, abs=1e-5)


def test_val_loss_weights_batches_of_styles_by_their_size(style_data, matcher, trainer):
    data = style_data(max_loss_items=5)
    logged, e = validated(data, matcher(), trainer())
    batches = [batch.tolist() for batch in data.gallery("val", with_loss=True).loss_batches]
    assert sorted(map(len, batches)) == [4, 4, 5, 5] and sorted(i for batch in batches for i in batch) == [*range(18)]
    total = 0.0
    for batch in batches:
        losses = []
        for i in batch:
            others = [j for j in batch if j != i]
            positives, negatives = ([e[54 + j] for j in others if (j % 3 == i % 3) == same] for same in (True, False))
            if positives:
                losses.append(infonce(e[54 + i], positives, negatives))
        total += len(batch) * sum(losses) / len(losses)
    assert logged["val/loss"] == pytest.approx(total / 18, abs=1e-5)


def test_training_logs_of_an_ensemble_are_means_over_its_members(couple_data, matcher, trainer):
    model, fit = matcher(head=Ensemble(in_dim=DIM, num=3, each=SMALL)), trainer(max_epochs=1)
    compare, seen = model.compare, defaultdict(list)

    def recorded(*arguments):
        output = compare(*arguments)
        if model.training:
            for name, value in {"loss": output.loss, **output.logs}.items():
                seen[name].append(float(value.detach()))
        return output

    model.compare = recorded
    fit.fit(model, couple_data())
    assert fit.global_step == 4 and len(seen["loss"]) == 4 * 3
    for name, values in seen.items():
        assert float(fit.callback_metrics[f"train/{name}"]) == pytest.approx(sum(values) / 12, rel=1e-5)


def test_val_mrr_holds_couples_of_other_splits_not_against_the_model(couple_data, matcher, trainer):
    """Profiles 36 and 97 are in the gallery with partners of their own, and a couple of the training split too."""
    data = couple_data(couples=[(36, 97), *((i, 60 + i) for i in range(1, 60))])  # the first 36 are for training
    data.features[97] = data.features[36]  # so that each would be the other's first answer
    logged, e = validated(data, matcher(), trainer())
    left, right, found = e[36:48], e[96:108], []
    for queries, gallery, hidden in ((left, right, (0, 1)), (right, left, (1, 0))):
        for i, query in enumerate(queries):
            own = float(query @ gallery[i])
            rivals = [j for j in range(12) if j != i and (i, j) != hidden]
            found.append(1 / (1 + sum(float(query @ gallery[j]) >= own for j in rivals)))
    assert logged["val/mrr"] == pytest.approx(sum(found) / 24, abs=1e-6)


def test_a_member_of_an_ensemble_gets_the_gradient_that_it_would_get_alone(couple_data, matcher, trainer):
    """By plain gradient descent, whose step is as long as the gradient."""
    descent = partial(torch.optim.SGD, lr=0.5)
    ensemble = matcher(head=Ensemble(in_dim=DIM, num=3, each=SMALL), optimizer=descent)
    alone = matcher(head=SMALL(in_dim=DIM), optimizer=descent)
    alone.head.load_state_dict(ensemble.head.heads[1].state_dict())
    before = alone.head.linear2.weight.detach().clone()
    for name, module in {"ensemble": ensemble, "alone": alone}.items():
        trainer(folder=name, max_epochs=1, gradient_clip_val=None).fit(module, couple_data())
    moved, expected = (head.linear2.weight.detach() - before for head in (ensemble.head.heads[1], alone.head))
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-6)
