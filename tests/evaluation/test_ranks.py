"""Ranks against their definition, one candidate at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from style_match.evaluation.ranks import DIRECTIONS, couple_ranks, style_ranks
from style_match.utils.errors import UserError
from tests.commands import unimportable

CLOSE = 1e-6  # a tie; coarse rows tie exactly or differ by far more, and Gaussian ones do not come this near


def similarity(one, other):
    return math.fsum(a * b for a, b in zip(one.double().tolist(), other.double().tolist(), strict=True))


def looped_couple_ranks(left, right, couples, known):
    """(query, partner, direction, rank, gallery) by the definition, one candidate at a time."""
    rows = []
    for direction, queries, gallery in (("left_to_right", left, right), ("right_to_left", right, left)):
        turn = 1 if direction == "left_to_right" else -1
        true = {pair[::turn] for pair in [*couples, *known]}
        for query, partner in (pair[::turn] for pair in couples):
            own = similarity(queries[query], gallery[partner])
            rivals = [c for c in range(len(gallery)) if c != partner and (query, c) not in true]
            better = sum(similarity(queries[query], gallery[c]) > own - CLOSE for c in rivals)
            rows.append((query, partner, direction, 1 + better, len(rivals) + 1))
    return rows


@given(
    left=st.integers(1, 9),
    right=st.integers(1, 9),
    seed=st.integers(0, 999),
    block=st.integers(1, 6),
    coarse=st.booleans(),
)
def test_couple_ranks_equal_the_definition(unit_rows, random_couples, left, right, seed, block, coarse):
    left_rows, right_rows = (unit_rows(n, 5, seed + i, coarse=coarse) for i, n in enumerate((left, right)))
    couples = random_couples(left, right, seed)
    known, asked = couples[: len(couples) // 3], couples[len(couples) // 3 :]
    ranks = couple_ranks(
        left_rows, right_rows, torch.tensor(asked), block=block, known=torch.tensor(known).reshape(-1, 2)
    )
    columns = (ranks.query, ranks.partner, ranks.direction, ranks.rank, ranks.gallery)
    rows = [(q, p, DIRECTIONS[d], r, g) for q, p, d, r, g in zip(*(c.tolist() for c in columns), strict=True)]
    assert rows == looped_couple_ranks(left_rows, right_rows, asked, known)
    expected = [similarity(left_rows[i], right_rows[j]) for i, j in asked] * 2
    assert ranks.similarity.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("block", [1, 3, 64, 1000])
def test_a_collapsed_embedding_ranks_every_partner_last(block):
    # 101 columns: the last ones go through another kernel of the matrix product than the first.
    same = torch.nn.functional.normalize(torch.randn(1, 333, generator=torch.Generator().manual_seed(0)), dim=1)
    rows = same.repeat(101, 1)
    ranks = couple_ranks(rows, rows, torch.arange(101)[:, None].repeat(1, 2), block=block)
    assert ranks.rank.tolist() == [101] * 202


def test_a_second_partner_is_no_rival():
    left = torch.tensor([[1.0, 0.0]])
    right = torch.tensor([[0.6, 0.8], [1.0, 0.0], [0.8, 0.6]])
    both = couple_ranks(left, right, torch.tensor([[0, 0], [0, 1]]), block=8)
    assert both.rank[:2].tolist() == [2, 1]  # behind right 2 alone
    assert both.gallery[:2].tolist() == [2, 2]
    known = couple_ranks(left, right, torch.tensor([[0, 0]]), block=8, known=torch.tensor([[0, 1]]))
    assert (known.rank[0], known.gallery[0], len(known.rank)) == (2, 2, 2)


def test_rows_that_cannot_be_ranked_are_refused(unit_rows):
    rows = unit_rows(4, 3, 0, coarse=False)
    pairs = torch.arange(4)[:, None].repeat(1, 2)
    broken = rows.clone()
    broken[2, 1] = torch.nan
    with pytest.raises(UserError, match=r"1 of 4 embeddings .* optimizer\.lr"):
        couple_ranks(rows, broken, pairs, block=2)
    with pytest.raises(ValueError, match="unit length"):
        couple_ranks(rows, 2 * rows, pairs, block=2)
    with pytest.raises(ValueError, match="twice"):
        couple_ranks(rows, rows, torch.cat([pairs, pairs[:1]]), block=2)
    with pytest.raises(ValueError, match="gallery of 3"):
        style_ranks(rows, torch.tensor([0, 0, 1, 1]), ks=(4,), block=2)


def test_bfloat16_embeddings_pass(unit_rows):
    rows = unit_rows(30, 512, 0, coarse=False).bfloat16()
    assert couple_ranks(rows, rows, torch.arange(30)[:, None].repeat(1, 2), block=8).rank.tolist() == [1] * 60


def looped_style_ranks(rows, labels, people, ks):
    """Per query: number, class size, first rank, precision at each k, AP@R, with the wrong ones first within a tie."""
    result = []
    for query, label in enumerate(labels):
        gallery = [c for c in range(len(rows)) if people[c] != people[query]]
        hits = [similarity(rows[query], rows[c]) for c in gallery if labels[c] == label]
        if not hits:
            continue
        wrong = [similarity(rows[query], rows[c]) for c in gallery if labels[c] != label]
        places = [i + sum(w > hit - CLOSE for w in wrong) for i, hit in enumerate(sorted(hits, reverse=True), start=1)]
        precision = [sum(place <= k for place in places) / k for k in ks]
        within = [(i, place) for i, place in enumerate(places, start=1) if place <= len(hits)]
        result.append((query, len(hits), len(gallery), places[0], precision, sum(i / p for i, p in within) / len(hits)))
    return result


@given(
    labels=st.lists(st.integers(0, 3), min_size=2, max_size=14),
    seed=st.integers(0, 999),
    block=st.integers(1, 6),
    coarse=st.booleans(),
    data=st.data(),
)
def test_style_ranks_equal_the_definition(unit_rows, labels, seed, block, coarse, data):
    rows = unit_rows(len(labels), 5, seed, coarse=coarse)
    people = data.draw(st.lists(st.integers(0, 20), min_size=len(labels), max_size=len(labels)))
    ks = tuple(k for k in (1, 2, 5) if k < len(labels))
    expected = looped_style_ranks(rows, labels, people, ks)
    if not expected:
        with pytest.raises(UserError, match="No style class has two profiles"):
            style_ranks(rows, torch.tensor(labels), ks=ks, block=block, people=torch.tensor(people))
        return
    ranks = style_ranks(rows, torch.tensor(labels), ks=ks, block=block, people=torch.tensor(people))
    counts = (ranks.query, ranks.num_relevant, ranks.gallery, ranks.rank)
    assert list(zip(*(c.tolist() for c in counts), strict=True)) == [row[:4] for row in expected]
    assert ranks.precision.flatten().tolist() == pytest.approx([p for row in expected for p in row[4]])
    assert ranks.average_precision.tolist() == pytest.approx([row[5] for row in expected])
    assert ranks.skipped == len(labels) - len(expected)
    for query, partner, own in zip(ranks.query, ranks.partner, ranks.similarity, strict=True):
        assert labels[partner] == labels[query] and people[partner] != people[query]
        assert float(own) == pytest.approx(similarity(rows[query], rows[partner]), abs=1e-6)


def test_a_collapsed_style_embedding_finds_its_class_last():
    rows = torch.nn.functional.normalize(torch.ones(9, 77), dim=1)
    ranks = style_ranks(rows, torch.tensor([0] * 3 + [1] * 6), ks=(3, 6), block=4)
    assert ranks.rank.tolist() == [7] * 3 + [4] * 6
    assert ranks.precision.tolist() == [[0, 0]] * 3 + [[0, 0.5]] * 6


class Largest(TorchDispatchMode):
    """Notes how many values the largest tensor has that an operation makes."""

    values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple | list) else (made,):
            if isinstance(each, torch.Tensor):
                self.values = max(self.values, each.untyped_storage().nbytes() // each.element_size())
        return made


@pytest.mark.parametrize("count", [200, 1000])
def test_no_tensor_has_more_values_than_a_block_of_similarities(unit_rows, count):
    rows = unit_rows(count, 8, 0, coarse=False)
    with Largest() as largest:
        couple_ranks(rows, rows, torch.arange(count)[:, None].repeat(1, 2), block=16)
        style_ranks(rows, torch.arange(count) % 5, ks=(5,), block=16)
    assert 16 * count <= largest.values <= 40 * count


def test_nothing_heavy_is_imported():
    with unimportable("lightning", "torchmetrics", "sklearn", "matplotlib", "pyarrow", "scipy"):
        import style_match.evaluation.ranks  # noqa: F401
