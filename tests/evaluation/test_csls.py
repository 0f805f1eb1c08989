"""CSLS against loops over its definition."""

import pytest
import torch
from torch.nn.functional import normalize

from style_match.evaluation.ranks import couple_ranks, neighbourhood
from style_match.utils.errors import UserError

COUPLES = [(f"f{i}", f"m{i}") for i in range(12)]
IDS = [f"f{i}" for i in range(12)] + [f"m{i}" for i in range(12)]


def rows(count, seed, dim=5):
    return normalize(torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def looped(left, right, bank, k):
    """(L, R) CSLS, one pair at a time."""

    def r(row, others):
        return sum(sorted((float(row @ other) for other in others), reverse=True)[:k]) / k

    def pair(x, y):
        return 2 * float(x @ y) - r(x, bank[1].double()) - r(y, bank[0].double())

    return torch.tensor([[pair(x, y) for y in right.double()] for x in left.double()], dtype=torch.float64)


def ranks_of(similarity):
    """Of the partners on the diagonal, ties against them."""
    return [*(similarity >= similarity.diag()[:, None]).sum(1), *(similarity >= similarity.diag()).sum(0)]


@pytest.mark.parametrize("k", [1, 4, 20])
def test_couples_are_ranked_by_csls(evaluator, k):
    left, right, bank = rows(12, 1), rows(12, 2), (rows(30, 3), rows(20, 4))
    result = evaluator(csls_k=k, num_answers=12).couples(torch.cat([left, right]), IDS, COUPLES, bank=bank)
    expected = looped(left, right, bank, k)
    assert result.ranks.rank.tolist() == [int(rank) for rank in ranks_of(expected)]
    torch.testing.assert_close(result.ranks.similarity, expected.diag().repeat(2))
    order = expected.argsort(dim=1, descending=True)
    answers = [[f"m{j}" for j in row] for row in order.tolist()] + [
        [f"f{i}" for i in row] for row in expected.T.argsort(dim=1, descending=True).tolist()
    ]
    assert [list(row) for row in result.answer_ids] == answers
    plain = evaluator(num_answers=12).couples(torch.cat([left, right]), IDS, COUPLES)
    assert plain.ranks.rank.tolist() != result.ranks.rank.tolist()


def test_ties_count_against_the_model():
    left, right = rows(1, 1).repeat(6, 1), rows(1, 2).repeat(6, 1)
    same = torch.full((6,), 0.3, dtype=torch.float64)
    found = couple_ranks(left, right, torch.arange(6)[:, None].repeat(1, 2), block=4, hubness=(same, same))
    assert found.rank.tolist() == [6] * 12


def test_a_k_above_the_training_split_is_named(evaluator):
    with pytest.raises(UserError, match=r"evaluation.csls_k=31 exceeds the 30 profiles"):
        neighbourhood(rows(3, 1), rows(30, 2), k=31, block=8)
    with pytest.raises(UserError, match=r"evaluation.csls_k must be >= 1"):
        evaluator(csls_k=0)
    with pytest.raises(ValueError, match="training split"):
        evaluator(csls_k=3).couples(torch.cat([rows(12, 1), rows(12, 2)]), IDS, COUPLES)
