"""Triplet against batch-hard mining written out with loops, for couples and styles."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from style_match.models.loss.triplet import Triplet
from style_match.utils.errors import UserError


def written_out(e, anchors, candidates, labels, margin, reducer):
    """Per anchor the farthest positive and the nearest negative; the reduced losses and the share above zero."""
    losses = []
    for a in anchors:
        distance = {c: (e[a] - e[c]).square().sum().sqrt() for c in candidates if c != a}
        positives = [d for c, d in distance.items() if labels[c] == labels[a]]
        negatives = [d for c, d in distance.items() if labels[c] != labels[a]]
        if positives and negatives:
            losses.append((margin + max(positives) - min(negatives)).clamp(min=0))
    active = [loss for loss in losses if loss > 0]
    over = active if reducer == "avg_non_zero" else losses
    return sum(over) / len(over) if over else 0 * sum(losses), len(active) / len(losses)


def same_value_and_gradient(loss, expected, z):
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    (got,), (want,) = (torch.autograd.grad(value, z, retain_graph=True) for value in (loss, expected))
    torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-9)


reducers = st.sampled_from(["avg_non_zero", "mean"])


@given(
    num=st.integers(2, 8),
    margin=st.floats(0.05, 1.5),
    reducer=reducers,
    symmetric=st.booleans(),
    seed=st.integers(0, 999),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_couples_are_mined_across_the_sides(couples, num, margin, reducer, symmetric, seed):
    z, e, labels, side = couples(num, seed=seed)
    output = Triplet(margin=margin, reducer=reducer, symmetric=symmetric)(e, labels, side)
    left, right = range(num), range(num, 2 * num)
    directions = [(left, right), (right, left)] if symmetric else [(left, right)]
    losses, active = zip(*(written_out(e, *each, labels, margin, reducer) for each in directions), strict=True)
    same_value_and_gradient(output.loss, sum(losses) / len(losses), z)
    assert float(output.logs["active_fraction"]) == pytest.approx(sum(active) / len(active))


@given(
    labels=st.lists(st.integers(0, 3), min_size=4, max_size=12),
    margin=st.floats(0.05, 1.5),
    reducer=reducers,
    seed=st.integers(0, 999),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_styles_are_mined_among_all_rows(styles, labels, margin, reducer, seed):
    if len(set(labels)) < 2 or len(set(labels)) == len(labels):
        return
    z, e, labels = styles(labels, seed=seed)
    output = Triplet(margin=margin, reducer=reducer, symmetric=True)(e, labels)
    expected, active = written_out(e, range(len(labels)), range(len(labels)), labels, margin, reducer)
    same_value_and_gradient(output.loss, expected, z)
    assert float(output.logs["active_fraction"]) == pytest.approx(active)


@pytest.mark.parametrize("spread", [1e-3, 1.0])
@pytest.mark.parametrize("num", [8, 96])
@pytest.mark.parametrize("sides", [True, False])
def test_float32_is_as_accurate_near_collapse_as_far_from_it(num, spread, sides):
    """Unit vectors at distances of about `spread` of each other: the gradient points where that of float64 does."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.nn.functional.normalize(torch.randn(64, generator=generator, dtype=torch.float64), dim=0)
    apart = torch.randn(num, 64, generator=generator, dtype=torch.float64) / 8
    exact = torch.nn.functional.normalize(centre + spread * apart, dim=1).float()
    labels = torch.arange(num // 2).repeat(2) if sides else torch.arange(num) % (num // 4)
    side = torch.arange(2).repeat_interleave(num // 2) if sides else None
    gradients = []
    for dtype in (torch.float32, torch.float64):
        e = exact.to(dtype).requires_grad_()
        loss = Triplet(margin=0.2, reducer="mean", symmetric=True)(e, labels, side).loss
        gradients.append(torch.autograd.grad(loss, e)[0].double().flatten())
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.999


@pytest.mark.parametrize("reducer", ["avg_non_zero", "mean"])
def test_a_batch_without_violations_costs_nothing_and_moves_nothing(reducer):
    e = torch.eye(4, dtype=torch.float64).repeat_interleave(2, dim=0).requires_grad_()
    output = Triplet(margin=0.2, reducer=reducer, symmetric=False)(e, torch.arange(4).repeat_interleave(2))
    output.loss.backward()
    assert output.loss == 0 and float(output.logs["active_fraction"]) == 0
    assert (e.grad == 0).all()


def test_an_item_repeated_by_the_sampler_gives_finite_gradients(styles):
    z, e, labels = styles([0, 0, 1, 1, 1])
    repeated = torch.tensor([0, 0, 1, 2, 3, 4])
    loss = Triplet(margin=0.2, reducer="mean", symmetric=False)(e.float()[repeated], labels[repeated]).loss
    assert torch.isfinite(torch.autograd.grad(loss, z)[0]).all()


@pytest.mark.parametrize("margin", [0, -0.2, math.nan, math.inf])
def test_margin_must_be_positive(margin):
    with pytest.raises(UserError, match=rf"loss.margin={margin}"):
        Triplet(margin=margin, reducer="mean", symmetric=True)


def test_reducer_must_be_known():
    with pytest.raises(UserError, match=r"loss.reducer=sum must be one of avg_non_zero, mean"):
        Triplet(margin=0.2, reducer="sum", symmetric=True)
