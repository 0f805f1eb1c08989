"""Galleries of many tiles: multiplied in float32, ranked as the whole matrix in float64 is."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import normalize

from style_match.evaluation import ranks
from style_match.evaluation import ranks as rivals
from style_match.evaluation.ranks import couple_ranks

APART = 1e-9  # likenesses that differ by more have one order only


def by_float64(left, right, couples, known, num, hubness):
    """Columns of `Ranks` from the whole matrix."""
    matrix = left.double() @ right.double().T
    if hubness is not None:
        matrix = 2 * matrix - hubness[0][:, None] - hubness[1][None, :]
    parts = []
    for similarity, pairs, true in ((matrix, couples, known), (matrix.T, couples.flip(1), known.flip(1))):
        query, partner = pairs.unbind(1)
        hidden = torch.zeros_like(similarity, dtype=torch.bool)
        hidden[tuple(torch.cat([pairs, true]).T)] = True
        own = similarity[query, partner]
        shown = similarity.masked_fill(hidden, -torch.inf)[query]
        rank = 1 + (shown >= own[:, None] - rivals.TIE).sum(1)
        shown[torch.arange(len(query)), partner] = own - rivals.TIE
        likeness, answers = shown.sort(dim=1, descending=True)
        parts.append((rank, len(similarity.T) - hidden[query].sum(1) + 1, own, answers, likeness, shown))
    rank, gallery, own = (torch.cat([part[i] for part in parts]) for i in range(3))
    return rank, gallery, own, [tuple(row) for part in parts for row in zip(*part[3:], strict=True)]


def assert_equal(found, expected, num):
    rank, gallery, own, rows = expected
    assert torch.equal(found.rank, rank) and torch.equal(found.gallery, gallery)
    torch.testing.assert_close(found.similarity, own, rtol=0, atol=1e-12)
    for answers, likeness, (order, values, shown) in zip(found.answers, found.likeness, rows, strict=True):
        real = int((values[:num] > -torch.inf).sum())
        assert (answers[real:] == -1).all() and answers[:real].unique().numel() == real
        torch.testing.assert_close(likeness[:real], values[:real], rtol=0, atol=1e-12)
        torch.testing.assert_close(shown[answers[:real]], values[:real], rtol=0, atol=1e-12)
        gaps = values[:-1] - values[1:] > APART
        alone = torch.cat([torch.tensor([True]), gaps]) & torch.cat([gaps, torch.tensor([True])])
        chosen = alone[:num] & (values[:num] > -torch.inf)
        assert torch.equal(answers[: len(chosen)][chosen], order[:num][chosen])


def rows_of(kind, count, dim, seed):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, dim, generator=generator)
    if kind == "tied":
        rows = torch.randint(0, 2, (count, dim), generator=generator).float()
        rows[:, 0] = 1
    elif kind == "copied":
        rows = rows[torch.randint(0, max(1, count // 3), (count,), generator=generator)]
    elif kind == "collapsed":
        rows = rows[:1].repeat(count, 1)
    elif kind == "nearly collapsed":
        rows = torch.randn(1, dim, generator=generator) + 1e-5 * rows
    return normalize(rows.double(), dim=1)


KINDS = ("random", "tied", "copied", "collapsed", "nearly collapsed")


@given(
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    counts=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    dim=st.sampled_from([1, 2, 5, 64, 513]),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 999),
    block=st.sampled_from([9, 64]),
    num=st.sampled_from([0, 1, 3, 40, 100]),
    hubs=st.booleans(),
    crowded=st.sampled_from([0.0, 1 / 64, 1.0]),
)
def test_tiles_equal_the_whole_matrix(random_couples, kinds, counts, dim, dtype, seed, block, num, hubs, crowded):
    left, right = (
        rows_of(kind, n, dim, seed + i).to(dtype) for i, (kind, n) in enumerate(zip(kinds, counts, strict=True))
    )
    couples = torch.tensor(random_couples(*counts, seed))
    known, couples = couples[: len(couples) // 3], couples[len(couples) // 3 :]
    generator = torch.Generator().manual_seed(seed)
    hubness = tuple(torch.rand(n, generator=generator, dtype=torch.float64) for n in counts) if hubs else None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rivals, "COLUMNS", 32)
        patched.setattr(ranks, "COLUMNS", 32)
        patched.setattr(rivals, "CROWDED", crowded)
        found = couple_ranks(left, right, couples, block=block, known=known, num_answers=num, hubness=hubness)
    assert_equal(found, by_float64(left, right, couples, known, num, hubness), num)


@pytest.fixture
def tiles(monkeypatch):
    """Tiles of 32 columns; the queries that were asked again in float64."""
    again = []
    whole = rivals.Rivals._whole

    def counted(self, query, *others):
        again.extend(query.tolist())
        return whole(self, query, *others)

    monkeypatch.setattr(rivals, "COLUMNS", 32)
    monkeypatch.setattr(ranks, "COLUMNS", 32)
    monkeypatch.setattr(rivals.Rivals, "_whole", counted)
    return again


def test_what_float32_cannot_tell_apart_is_summed_again(tiles):
    """Rivals around the partner at steps of 1e-9, half of them above it, and far ones; no query needs a whole row."""
    left = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    cosines = torch.cat([0.5 + 1e-9 * torch.arange(-3, 4).double(), torch.linspace(-1, 0.4, 1993).double()])
    right = torch.stack([cosines, (1 - cosines**2).sqrt()], dim=1)
    assert cosines[:7].float().unique().numel() == 1
    right = right[torch.randperm(2000, generator=torch.Generator().manual_seed(0))]
    partner = int((right[:, 0] - 0.5).abs().argmin())
    found = couple_ranks(left, right, torch.tensor([[0, partner]]), block=8, num_answers=5)
    assert int(found.rank[0]) == 4
    assert found.likeness[0].tolist() == pytest.approx([0.5 + 1e-9 * step for step in (3, 2, 1, 0, -1)], abs=2e-12)
    assert tiles == [partner]  # of the other direction, whose gallery of one row is multiplied in float64


def test_a_crowd_around_the_partner_is_multiplied_in_float64(tiles):
    rows = rows_of("nearly collapsed", 200, 64, 0)
    pairs = torch.arange(200)[:, None].repeat(1, 2)
    found = couple_ranks(rows, rows.flip(0), pairs, block=64)
    assert len(tiles) == 400
    assert_equal(found, by_float64(rows, rows.flip(0), pairs, pairs[:0], 0, None), 0)


def test_first_answers_with_too_many_equals_are_sought_in_float64(tiles):
    """The best answer comes 20 times, more than there are candidates; the partners are far from that."""
    left = rows_of("random", 200, 64, 0)
    right = torch.cat([left[:1].repeat(20, 1), rows_of("random", 180, 64, 1)])
    pairs = torch.arange(20, 200)[:, None].repeat(1, 2)
    pairs[0, 0] = 0
    found = couple_ranks(left, right, pairs, block=64, num_answers=3)
    assert 0 in tiles and len(tiles) < 100
    assert_equal(found, by_float64(left, right, pairs, pairs[:0], 3, None), 3)


def test_neither_autocast_nor_lower_precision_of_products_moves_a_rank(tiles):
    left, right = (rows_of("random", 300, 64, seed).float() for seed in (0, 1))
    pairs = torch.arange(300)[:, None].repeat(1, 2)
    plain = couple_ranks(left, right, pairs, block=64, num_answers=3)
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            lower = couple_ranks(left, right, pairs, block=64, num_answers=3)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert torch.equal(plain.rank, lower.rank) and torch.equal(plain.answers, lower.answers)
    assert torch.equal(plain.likeness, lower.likeness)
    assert not tiles


@pytest.mark.parametrize("hubs", [False, True])
def test_the_margin_holds_for_the_rows_that_are_multiplied(tiles, monkeypatch, hubs):
    """Higham's bound of the rows' own lengths, where these are as long as is let through."""
    seen, tiled = [], rivals.Rivals._tiled
    monkeypatch.setattr(rivals.Rivals, "_tiled", lambda self, *others: seen.append(self) or tiled(self, *others))
    left, right = (1.0099 * rows_of("random", 100, 64, seed) for seed in (0, 1))
    hubness = (torch.full((100,), 0.5, dtype=torch.float64),) * 2 if hubs else None
    couple_ranks(left, right, torch.arange(100)[:, None].repeat(1, 2), block=64, hubness=hubness)
    assert len(seen) == 4
    for each in seen:
        longest = [float(rows.double().norm(dim=1).max()) for rows in (each.queries, each.gallery)]
        assert each.margin >= (longest[0] * longest[1] + 0.5 * hubs) * 64 * 2.0**-24 / (1 - 64 * 2.0**-24)


def test_the_block_makes_no_difference(tiles):
    left, right = (rows_of("tied", 150, 9, seed) for seed in (0, 1))
    pairs = torch.arange(150)[:, None].repeat(1, 2)
    found = [couple_ranks(left, right, pairs, block=block).rank for block in (7, 64, 1000)]
    assert all(torch.equal(rank, found[0]) for rank in found)
