"""Scores with galleries cut to one size, against all subsets of the rivals."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.reporting.statistics import expected_recall, expected_reciprocal_rank


@st.composite
def cases(draw):
    gallery = draw(st.integers(1, 9))
    return draw(st.integers(1, gallery)), gallery, draw(st.integers(1, gallery))


@given(cases())
def test_it_is_the_mean_over_all_subsets_of_the_rivals(case):
    rank, gallery, size = case
    rivals = [place for place in range(1, gallery + 1) if place != rank]
    left = np.array([1 + sum(place < rank for place in kept) for kept in combinations(rivals, size - 1)])
    assert expected_reciprocal_rank([rank], [gallery], size) == pytest.approx([(1 / left).mean()])
    for k in range(1, size + 1):
        assert expected_recall([rank], [gallery], size, k) == pytest.approx([(left <= k).mean()])


@given(gallery=st.integers(1, 500), data=st.data())
def test_random_ranks_become_the_chance_of_the_smaller_gallery(gallery, data):
    size = data.draw(st.integers(1, gallery))
    k = data.draw(st.integers(1, size))
    ranks = np.arange(1, gallery + 1)
    assert expected_recall(ranks, gallery, size, k).mean() == pytest.approx(k / size)
    assert expected_reciprocal_rank(ranks, gallery, size).mean() == pytest.approx((1 / np.arange(1, size + 1)).mean())


def test_a_gallery_of_the_size_stays_as_it_is():
    ranks = np.array([1, 2, 75, 10])
    assert expected_recall(ranks, 75, 75, 1).tolist() == [1, 0, 0, 0]
    assert expected_recall(ranks, 75, 75, 10).tolist() == [1, 1, 0, 1]
    assert (expected_reciprocal_rank(ranks, 75, 75) == 1 / ranks).all()


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(ValueError, match="60 cannot be cut to 75"):
        expected_reciprocal_rank([1, 2], [75, 60], 75)
    with pytest.raises(ValueError, match="ranks"):
        expected_recall([0], [75], 30, 1)
    with pytest.raises(ValueError, match="ranks"):
        expected_recall([76], [75], 30, 1)
