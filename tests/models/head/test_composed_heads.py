"""Trained heads that are made of others, or that begin as a closed form."""

from functools import partial

import pytest
import torch

from style_match.data.datamodule import TrainSet
from style_match.models.head.ensemble import Ensemble, members
from style_match.models.head.identity import Identity
from style_match.models.head.linear import Linear
from style_match.models.head.linear_models import PairLDA
from style_match.models.head.mlp import MLP
from style_match.models.head.residual import Residual
from style_match.models.head.two_heads import TwoHeads
from style_match.models.head.weighted import Weighted
from style_match.utils.errors import UserError

D = 8
SMALL = partial(MLP, hidden_dim=16, dim=4, bias=False, standardize=False)
LDA = partial(PairLDA, shrinkage=0.1)
SIDE = torch.tensor([0, 1, 1, 0, 1, 0])


@pytest.fixture
def train() -> TrainSet:
    shared = 2 * torch.randn(60, D)
    left, right = shared + torch.randn(60, D), shared + torch.randn(60, D) + 1
    return TrainSet(photos=torch.cat([left, right]), left=left, right=right)


@pytest.fixture
def lda(train):
    head = LDA(in_dim=D, dim=4)
    head.fit_closed(train)
    return head


def test_a_linear_head_sees_standardised_features(train):
    head = Linear(in_dim=D, dim=3, start=None)
    head.fit_closed(train)
    rows = (train.photos - train.photos.mean(0)) / train.photos.std(0, correction=0)
    z = rows @ head.linear.weight.T
    torch.testing.assert_close(head(train.photos), z / z.norm(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)


def test_a_linear_head_begins_as_its_closed_form_with_weights_as_long_as_random_ones(train, lda):
    torch.manual_seed(0)
    plain = Linear(in_dim=D, dim=4, start=None)
    torch.manual_seed(0)
    head = Linear(in_dim=D, dim=4, start=LDA)
    head.fit_closed(train)
    torch.testing.assert_close(head(train.photos), lda(train.photos), rtol=1e-4, atol=1e-5)
    lengths = [linear.linear.weight.detach().norm().item() for linear in (head, plain)]
    assert lengths[0] == pytest.approx(lengths[1], rel=1e-5)


def test_a_linear_head_comes_back_from_its_state_dict(train):
    head, loaded = (Linear(in_dim=D, dim=4, start=LDA) for _ in range(2))
    head.fit_closed(train)
    loaded.load_state_dict(head.state_dict())
    assert loaded.is_fitted()
    assert torch.equal(loaded(train.photos), head(train.photos))
    assert {name for name, _ in head.named_parameters()} == {"linear.weight"}


def test_a_residual_head_begins_as_its_closed_form_and_trains_only_what_is_on_it(train, lda):
    head = Residual(in_dim=D, hidden_dim=16, base=partial(LDA, dim=4))
    head.base.fit_closed(train)
    torch.testing.assert_close(head(train.photos), lda(train.photos))
    before = {name: value.clone() for name, value in head.base.state_dict().items()}
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    for _ in range(3):
        head(train.photos)[:, 0].sum().backward()
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in head.base.state_dict().items())
    assert not torch.allclose(head.eval()(train.photos), lda(train.photos))
    with pytest.raises(UserError, match="batch of one row"):
        head.train()(train.photos[:1])


def test_each_side_goes_through_its_own_head():
    head, rows = TwoHeads(in_dim=D, each=SMALL), torch.randn(6, D)
    e = head(rows, SIDE)
    torch.testing.assert_close(e[SIDE == 0], head.sides[0](rows[SIDE == 0]), msg="BatchNorm sees one side at a time")
    e = head.eval()(rows, SIDE)
    for i, side in enumerate(SIDE.tolist()):
        torch.testing.assert_close(e[i : i + 1], head.sides[side](rows[i : i + 1]))
    torch.testing.assert_close(head(rows, torch.zeros(6, dtype=torch.long)), head.sides[0](rows))
    assert not torch.allclose(head.sides[0](rows), head.sides[1](rows))


def test_two_heads_need_the_sides():
    with pytest.raises(UserError, match="treats left and right profiles differently"):
        TwoHeads(in_dim=D, each=SMALL)(torch.randn(6, D))


def test_an_ensembles_similarity_is_the_mean_of_its_members():
    head, rows = Ensemble(in_dim=D, num=3, each=SMALL).eval(), torch.randn(6, D)
    e = head(rows)
    assert e.shape == (6, head.dim) == (6, 12)
    torch.testing.assert_close(e.norm(dim=1), torch.ones(6))
    each = members(head, rows)
    torch.testing.assert_close(e @ e.T, sum(m @ m.T for m in each) / 3)
    assert not torch.allclose(each[0], each[1])
    with pytest.raises(UserError, match=r"head.num=0"):
        Ensemble(in_dim=D, num=0, each=SMALL)


def test_an_ensemble_passes_the_sides_to_its_members():
    head = Ensemble(in_dim=D, num=2, each=partial(TwoHeads, each=SMALL)).eval()
    assert head(torch.randn(6, D), SIDE).shape == (6, 8)
    with pytest.raises(UserError):
        head(torch.randn(6, D))


def test_a_weighted_similarity_is_the_weighted_sum_of_both_kinds():
    features = torch.randn(4, 12)
    head = Weighted(in_dim=12, weight=0.3, each=Identity)
    e = head(features)
    first, second = (torch.nn.functional.normalize(half, dim=1) for half in features.chunk(2, dim=1))
    torch.testing.assert_close(e @ e.T, 0.3 * first @ first.T + 0.7 * second @ second.T)
    torch.testing.assert_close(e.norm(dim=1), torch.ones(4))
    assert head.dim == 12
    for options, message in (({"weight": 1.2, "in_dim": 12}, "0 to 1"), ({"weight": 0.5, "in_dim": 7}, "halves")):
        with pytest.raises(UserError, match=message):
            Weighted(**options, each=Identity)


def test_each_kind_of_a_weighted_head_is_trained():
    head = Weighted(in_dim=2 * D, weight=0.5, each=SMALL)
    (head(torch.randn(6, 2 * D)) * torch.randn(6, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())
