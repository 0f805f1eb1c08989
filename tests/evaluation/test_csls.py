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


@pytest.mark.parametrize("block", [1, 5, 100])
def test_the_block_makes_no_difference(block):
    left, right, bank = rows(9, 1), rows(40, 2), rows(30, 3)
    hubness = neighbourhood(left, bank, k=5, block=block), neighbourhood(right, bank, k=5, block=block)
    pairs = torch.arange(9)[:, None].repeat(1, 2)
    found = couple_ranks(left, right, pairs, block=block, hubness=hubness)
    assert torch.equal(found.rank, couple_ranks(left, right, pairs, block=7, hubness=hubness).rank)


def test_ties_count_against_the_model():
    left, right = rows(1, 1).repeat(6, 1), rows(1, 2).repeat(6, 1)
    same = torch.full((6,), 0.3, dtype=torch.float64)
    found = couple_ranks(left, right, torch.arange(6)[:, None].repeat(1, 2), block=4, hubness=(same, same))
    assert found.rank.tolist() == [6] * 12


def test_a_hub_of_the_training_split_is_drawn_back():
    """Every left profile is nearest to right 0, which lies where all training profiles are."""
    hub = normalize(torch.ones(1, 5), dim=1)
    left = normalize(hub + 0.5 * rows(12, 1), dim=1)
    right = normalize(left + 0.8 * rows(12, 2), dim=1)
    right[0] = hub
    bank = (normalize(hub + 0.3 * rows(40, 3), dim=1), normalize(hub + 0.3 * rows(40, 4), dim=1))
    options = {"k": 10, "block": 64}
    pairs = torch.arange(12)[:, None].repeat(1, 2)
    plain = couple_ranks(left, right, pairs, block=64, num_answers=1)
    hubness = neighbourhood(left, bank[1], **options), neighbourhood(right, bank[0], **options)
    corrected = couple_ranks(left, right, pairs, block=64, num_answers=1, hubness=hubness)
    asked_first = [int((ranks.answers[:12, 0] == 0).sum()) for ranks in (plain, corrected)]
    assert asked_first[1] < asked_first[0]


def test_a_k_above_the_training_split_is_named(evaluator):
    with pytest.raises(UserError, match=r"evaluation.csls_k=31 exceeds the 30 profiles"):
        neighbourhood(rows(3, 1), rows(30, 2), k=31, block=8)
    with pytest.raises(UserError, match=r"evaluation.csls_k must be >= 1"):
        evaluator(csls_k=0)
    with pytest.raises(ValueError, match="training split"):
        evaluator(csls_k=3).couples(torch.cat([rows(12, 1), rows(12, 2)]), IDS, COUPLES)
