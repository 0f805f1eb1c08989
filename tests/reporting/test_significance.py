"""Tests of differences, against enumeration, scipy and formulas."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from style_match.evaluation import sign_test
from style_match.evaluation.bootstrap import Interval
from style_match.evaluation.sign_test import sign_flip
from style_match.reporting.statistics import (
    BETTER,
    NOT_DISTINGUISHABLE,
    WORSE,
    holm,
    t_test,
    verdict,
)


def flip(differences, clusters, num_resamples=9999, seed=0):
    return sign_flip(differences, clusters, num_resamples=num_resamples, seed=seed)


def enumerated(differences, clusters):
    """Two-sided p by all signs of all clusters, written out."""
    sums = np.array([differences[clusters == cluster].sum() for cluster in np.unique(clusters)])
    signs = np.array(list(product((-1, 1), repeat=len(sums))))
    return float((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).mean())


@given(
    differences=st.lists(st.sampled_from([-1.0, -0.5, -1 / 3, 0.0, 0.1, 0.5, 1.0]), min_size=1, max_size=12),
    clusters=st.lists(st.integers(0, 7), min_size=12, max_size=12),
)
def test_few_clusters_are_enumerated(differences, clusters):
    differences, clusters = np.array(differences), np.array(clusters[: len(differences)])
    assert flip(differences, clusters) == pytest.approx(enumerated(differences, clusters))


def test_many_clusters_are_drawn_and_near_the_enumeration():
    generator = np.random.default_rng(0)
    differences, clusters = generator.normal(0.25, 1, 28), np.tile(np.arange(14), 2)
    drawn = flip(differences, clusters, num_resamples=2**14 - 1)
    assert drawn != flip(differences, clusters, num_resamples=2**14 - 1, seed=1)
    assert drawn == flip(differences, clusters, num_resamples=2**14 - 1)
    assert drawn == pytest.approx(enumerated(differences, clusters), abs=0.02)


def test_no_difference_gives_one():
    assert flip(np.zeros(150), np.tile(np.arange(75), 2)) == 1
    cancelled = np.array([0.1 + 0.2, -0.3, 1 / 3, -1 / 3])
    assert flip(cancelled, np.array([0, 0, 1, 1])) == 1
    assert flip([0.4, 0.2], [5, 5]) == 1


def test_the_least_drawn_p_value_is_not_zero():
    assert flip(np.ones(60), np.arange(60), num_resamples=999) == pytest.approx(1 / 1000)


def test_chunks_of_signs_are_counted_together(monkeypatch):
    differences = np.random.default_rng(4).normal(0.4, 1, 12)
    whole = [flip(differences, np.arange(12), num_resamples=count) for count in (4096, 2000)]
    monkeypatch.setattr(sign_test, "_CELLS", 12 * 7)
    assert flip(differences, np.arange(12), num_resamples=4096) == whole[0]
    assert flip(differences, np.arange(12), num_resamples=2000) == pytest.approx(whole[1], abs=0.03)


def test_numbers_that_cannot_be_tested_are_refused():
    for differences, clusters in (([0.1, np.nan], [0, 1]), ([0.1, 0.2], [0, 1, 2])):
        with pytest.raises(ValueError, match=r"finite|clusters"):
            flip(differences, clusters)
    for p_value in (1.2, -0.1, float("nan")):
        with pytest.raises(ValueError):
            holm([p_value])
    with pytest.raises(ValueError, match="at least 2"):
        t_test([0.1], test_share=0.2, confidence=0.95)


@given(st.lists(st.floats(0, 1), max_size=7))
def test_holm_is_the_closure_of_bonferroni(p_values):
    """Adjusted p: the largest Bonferroni p of all sets of hypotheses that hold this one (Marcus et al. 1976)."""
    numbers = range(len(p_values))
    sets = [chosen for size in numbers for chosen in combinations(numbers, size + 1)]
    expected = [max(min(1, len(s) * min(p_values[j] for j in s)) for s in sets if i in s) for i in numbers]
    assert holm(p_values) == pytest.approx(expected)


def test_worlds_are_students_paired_test():
    one, other = np.random.default_rng(3).normal(0.3, 0.1, (2, 10))
    interval, p = t_test(one - other, confidence=0.95)
    expected = stats.ttest_rel(one, other)
    assert p == pytest.approx(expected.pvalue)
    assert (interval.low, interval.high) == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_splits_are_corrected_for_their_shared_training_data():
    differences = np.array([0.03, 0.05, -0.01, 0.04, 0.06, 0.02, 0.00, 0.05, 0.03, 0.01])
    interval, p = t_test(differences, test_share=75 / 420, confidence=0.9)
    t = differences.mean() / np.sqrt((1 / 10 + 75 / 420) * differences.var(ddof=1))
    assert p == pytest.approx(2 * stats.t.sf(t, 9))
    half = stats.t.ppf(0.95, 9) * differences.mean() / t
    assert (interval.value, interval.low, interval.high) == pytest.approx((0.028, 0.028 - half, 0.028 + half))
    assert p > t_test(differences, confidence=0.9)[1]


@pytest.mark.parametrize("differences", [[0.0, 0.0, 0.0], [0.5, 0.5], [0.1 + 0.2, 0.3, 0.3]])
def test_equal_differences_say_nothing_of_their_spread(differences):
    for interval, p in (
        t_test(differences, confidence=0.95),
        t_test(differences, test_share=0.2, confidence=0.95),
    ):
        assert p is None
        assert interval.low == interval.value == interval.high == pytest.approx(differences[0])


def test_a_verdict_needs_the_p_value_and_the_interval():
    above, below, across = Interval(0.1, 0.05, 0.15), Interval(-0.1, -0.15, -0.05), Interval(0.1, -0.01, 0.2)
    assert [verdict(i, 0.05, 0.05) for i in (above, below, across)] == [BETTER, WORSE, NOT_DISTINGUISHABLE]
    assert {verdict(i, 0.051, 0.05) for i in (above, below, across)} == {NOT_DISTINGUISHABLE}
