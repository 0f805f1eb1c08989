"""Heads against eq. 2 and eq. 3 computed by hand."""

import copy

import pytest
import torch

from style_match.data.datamodule import TrainSet
from style_match.models.head.identity import Identity
from style_match.models.head.mlp import MLP
from style_match.utils.errors import UserError


def mlp(in_dim=7, hidden_dim=6, dim=4, bias=False, standardize=False):
    torch.manual_seed(0)
    head = MLP(in_dim=in_dim, hidden_dim=hidden_dim, dim=dim, bias=bias, standardize=standardize).double()
    with torch.no_grad():  # batch norm begins as the identity, which would hide a missing scale or shift
        head.norm.weight.uniform_(0.5, 2)
        head.norm.bias.uniform_(-1, 1)
        head.norm.running_mean.uniform_(-1, 1)
        head.norm.running_var.uniform_(0.5, 2)
    return head


def by_hand(head, h, *, training, bias):
    """Eq. 2 and 3, row by row."""
    w1, w2, eps = head.linear1.weight, head.linear2.weight, 1e-5
    a = torch.stack([w1 @ row + (head.linear1.bias if bias else 0) for row in h])
    mean = sum(a) / len(a) if training else head.norm.running_mean
    var = sum((row - mean) ** 2 for row in a) / len(a) if training else head.norm.running_var
    embeddings = []
    for row in a:
        normal = (row - mean) / (var + eps) ** 0.5 * head.norm.weight + head.norm.bias
        z = w2 @ torch.where(normal > 0, normal, 0) + (head.linear2.bias if bias else 0)
        embeddings.append(z / (z**2).sum() ** 0.5)
    return torch.stack(embeddings).float()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("training", [True, False])
def test_mlp_is_equations_2_and_3(training, bias):
    head = mlp(bias=bias).train(training)
    h = torch.randn(5, 7, dtype=torch.float64)
    expected = by_hand(copy.deepcopy(head), h, training=training, bias=bias)
    torch.testing.assert_close(head(h), expected, rtol=1e-6, atol=1e-6)


def test_equation_2_has_no_biases_but_those_of_batch_norm():
    assert {name for name, _ in mlp().named_parameters()} == {
        "linear1.weight",
        "norm.weight",
        "norm.bias",
        "linear2.weight",
    }


@pytest.mark.parametrize("training", [True, False])
def test_standardize_is_applied_before_the_first_layer(training):
    features = torch.randn(40, 7, dtype=torch.float64) * torch.arange(1, 8) + 10
    features[:, 3] = 5.0  # never changes
    plain, standard = mlp().train(training), mlp(standardize=True).train(training)
    standard.fit_closed(TrainSet(photos=features))
    std = features.std(dim=0, correction=0)
    std[3] = 1
    expected = plain((features[:5] - features.mean(dim=0)) / std)
    torch.testing.assert_close(standard(features[:5]), expected)


def test_a_column_that_is_constant_but_for_rounding_is_divided_by_1():
    features = torch.randn(40, 7, generator=torch.Generator().manual_seed(1))
    features[:, 3] = 5.0
    features[::2, 3] += 5e-7  # the next float32
    assert features[:, 3].std() > 0
    plain, standard = mlp().eval(), mlp(standardize=True).eval()
    standard.fit_closed(TrainSet(photos=features))
    rows = features[:5].double()
    rows[:, 3] += 0.1  # divided by the standard deviation it would be 4e5
    std = features.double().std(dim=0, correction=0)
    std[3] = 1
    expected = plain((rows - features.double().mean(dim=0)) / std)
    torch.testing.assert_close(standard(rows), expected, rtol=1e-4, atol=1e-5)


def test_standardize_travels_in_the_state_dict():
    features = torch.randn(40, 7, dtype=torch.float64) + 3
    fitted, loaded = mlp(standardize=True).eval(), mlp(standardize=True).eval()
    assert not fitted.is_fitted()
    with pytest.raises(RuntimeError, match="fit_closed"):
        fitted(features)
    fitted.fit_closed(TrainSet(photos=features))
    loaded.load_state_dict(fitted.state_dict())
    assert loaded.is_fitted()
    assert torch.equal(loaded(features), fitted(features))


def test_embeddings_are_float32_under_mixed_precision():
    head, h = mlp(hidden_dim=64).float(), torch.randn(8, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        e = head(h)
    assert e.dtype == torch.float32
    torch.testing.assert_close(e.norm(dim=1), torch.ones(8), rtol=0, atol=1e-6)


def test_identity_brings_features_to_unit_length_and_has_nothing_to_train():
    head, h = Identity(in_dim=6), torch.randn(5, 6)
    torch.testing.assert_close(head(h), torch.stack([row / row.square().sum().sqrt() for row in h]))
    assert list(head.parameters()) == [] and head.state_dict() == {}
    assert head(h[:1]).shape == (1, 6)


def test_a_batch_of_one_cannot_train_but_can_be_embedded():
    head = mlp()
    with pytest.raises(UserError, match=r"batch of one row. Raise sampler.batch_size"):
        head(torch.zeros(1, 7, dtype=torch.float64))
    assert head.eval()(torch.ones(1, 7, dtype=torch.float64)).shape == (1, 4)


def test_features_of_another_backbone_are_named():
    with pytest.raises(UserError, match="made for features 7 wide, these are 8 wide"):
        mlp()(torch.zeros(3, 8, dtype=torch.float64))


@pytest.mark.parametrize(("option", "value"), [("dim", 0), ("dim", -3), ("hidden_dim", 0)])
def test_widths_must_be_positive(option, value):
    with pytest.raises(UserError, match=rf"head.{option}={value} must be at least 1"):
        mlp(**{option: value})
