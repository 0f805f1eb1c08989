"""Two kinds of features, a head each, their similarities weighted."""

from functools import partial

import pytest
import torch

from style_match.models.head.identity import Identity
from style_match.models.head.mlp import MLP
from style_match.models.head.weighted import Weighted
from style_match.utils.errors import UserError


def test_the_similarity_is_the_weighted_sum_of_both():
    features = torch.randn(4, 12)
    head = Weighted(in_dim=12, weight=0.3, each=Identity)
    embedded = head(features)
    first, second = (torch.nn.functional.normalize(half, dim=1) for half in features.chunk(2, dim=1))
    assert torch.allclose(embedded @ embedded.T, 0.3 * first @ first.T + 0.7 * second @ second.T, atol=1e-6)
    assert torch.allclose(embedded.norm(dim=1), torch.ones(4)) and head.dim == 12


def test_each_kind_is_trained():
    each = partial(MLP, hidden_dim=8, dim=4, bias=False, standardize=False)
    head = Weighted(in_dim=12, weight=0.5, each=each)
    (head(torch.randn(6, 12)) * torch.randn(6, 8)).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize(
    "options,said", [({"weight": 1.2, "in_dim": 12}, "0 to 1"), ({"weight": 0.5, "in_dim": 7}, "halves")]
)
def test_what_makes_no_sense_is_refused(options, said):
    with pytest.raises(UserError, match=said):
        Weighted(**options, each=Identity)
