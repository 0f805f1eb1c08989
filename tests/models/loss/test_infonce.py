"""InfoNCE against eq. 4 written out with loops, and torch's cross entropy."""

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.nn import functional

from style_match.models.loss.infonce import InfoNCE
from style_match.utils.errors import UserError


def written_out(e, anchors, candidates, labels, temperature):
    """Eq. 4, its mean over an anchor's positives and over the anchors, entry by entry."""
    losses = []
    for a in anchors:
        sim = {c: e[a].dot(e[c]) for c in candidates if c != a}
        positives = [c for c in sim if labels[c] == labels[a]]
        negatives = [c for c in sim if labels[c] != labels[a]]
        if positives and negatives:
            rivals = sum(torch.exp(sim[n] / temperature) for n in negatives)
            terms = [torch.exp(sim[p] / temperature) for p in positives]
            losses.append(sum(-torch.log(term / (term + rivals)) for term in terms) / len(terms))
    return sum(losses) / len(losses)


def same_value_and_gradient(loss, expected, z):
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-12)
    (got,), (want,) = (torch.autograd.grad(value, z, retain_graph=True) for value in (loss, expected))
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@given(num=st.integers(2, 7), dim=st.integers(1, 5), temperature=st.floats(0.05, 2.0), seed=st.integers(0, 999))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_is_equation_4(couples, num, dim, temperature, seed):
    z, e, labels, side = couples(num, dim, seed)
    loss = InfoNCE(temperature=temperature, symmetric=False)(e, labels, side).loss
    same_value_and_gradient(loss, written_out(e, range(num), range(num, 2 * num), labels, temperature), z)


def test_is_cross_entropy_in_each_direction(couples):
    z, e, labels, side = couples(num=8)
    left, right = e[:8], e[8:][labels[8:].argsort()]
    logits = left @ right.T / 0.2
    target = torch.arange(8)
    one_way = functional.cross_entropy(logits, target)
    both = (one_way + functional.cross_entropy(logits.T, target)) / 2
    same_value_and_gradient(InfoNCE(temperature=0.2, symmetric=False)(e, labels, side).loss, one_way, z)
    same_value_and_gradient(InfoNCE(temperature=0.2, symmetric=True)(e, labels, side).loss, both, z)


@pytest.mark.parametrize("symmetric", [False, True])
def test_several_positives_leave_the_denominator(couples, symmetric):
    z, e, labels, side = couples(num=7, labels=[0, 0, 0, 1, 1, 2, 3])
    expected = written_out(e, range(7), range(7, 14), labels, 0.3)
    if symmetric:
        expected = (expected + written_out(e, range(7, 14), range(7), labels, 0.3)) / 2
    same_value_and_gradient(InfoNCE(temperature=0.3, symmetric=symmetric)(e, labels, side).loss, expected, z)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=9), st.integers(0, 99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_styles_compare_every_row_with_all_others(styles, labels, seed):
    if len(set(labels)) < 2 or len(set(labels)) == len(labels):
        return
    z, e, labels = styles(labels, seed=seed)
    loss = InfoNCE(temperature=0.2, symmetric=False)(e, labels).loss
    same_value_and_gradient(loss, written_out(e, range(len(labels)), range(len(labels)), labels, 0.2), z)


def test_anchors_without_partner_are_left_out(couples):
    z, e, labels, side = couples(num=5)
    unpaired = labels.clone()
    unpaired[0] = 99  # a left row whose partner is not in the batch
    loss = InfoNCE(temperature=0.2, symmetric=False)(e, unpaired, side).loss
    same_value_and_gradient(loss, written_out(e, range(1, 5), range(5, 10), labels, 0.2), z)


def test_a_perfect_batch_costs_nothing_and_a_collapsed_one_the_logarithm_of_its_size():
    e, labels, side = (
        torch.eye(4).double().repeat(2, 1),
        torch.arange(4).repeat(2),
        torch.arange(2).repeat_interleave(4),
    )
    infonce = InfoNCE(temperature=0.01, symmetric=True)
    assert infonce(e, labels, side).loss < 1e-6
    assert infonce(torch.ones(8, 3).double() / 3**0.5, labels, side).loss.item() == pytest.approx(math.log(4))


def test_a_tiny_temperature_gives_finite_gradients(couples):
    z, e, labels, side = couples(num=6)
    loss = InfoNCE(temperature=1e-4, symmetric=True)(e.float(), labels, side).loss
    assert torch.isfinite(loss) and torch.isfinite(torch.autograd.grad(loss, z)[0]).all()


def test_logs_are_the_mean_similarities(couples):
    _, e, labels, side = couples(num=5)
    logs = InfoNCE(temperature=0.2, symmetric=False)(e, labels, side).logs
    pairs = [((e[a] @ e[c]).item(), bool(labels[a] == labels[c])) for a in range(5) for c in range(5, 10)]
    for name, wanted in (("pos_similarity", True), ("neg_similarity", False)):
        values = [value for value, positive in pairs if positive == wanted]
        assert float(logs[name]) == pytest.approx(sum(values) / len(values))
        assert not logs[name].requires_grad


@pytest.mark.parametrize("side", [True, False])
def test_degenerate_batches_raise(couples, side):
    _, e, labels, sides = couples(num=3)
    infonce = InfoNCE(temperature=0.2, symmetric=True)
    with pytest.raises(UserError, match=r"no negative.*sampler.batch_size"):
        infonce(e, torch.zeros_like(labels), sides if side else None)
    with pytest.raises(UserError, match=r"no positive.*sampler.batch_size"):
        infonce(e, torch.arange(6), sides if side else None)


@pytest.mark.parametrize("temperature", [0, -0.1, math.nan, math.inf])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(UserError, match=rf"loss.temperature={temperature}"):
        InfoNCE(temperature=temperature, symmetric=False)
