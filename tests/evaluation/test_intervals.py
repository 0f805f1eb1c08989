"""Intervals: their coverage, and the bootstrap written out with loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from style_match.evaluation.bootstrap import ClusterBootstrap
from tests.evaluation import by_loops

PAIRED = np.tile(np.arange(75), 2)


def bootstrap(clusters, *, num_resamples=2000, seed=0):
    return ClusterBootstrap(clusters, confidence=0.95, num_resamples=num_resamples, seed=seed)


def correlated_hits(p, correlation, repeats):
    """(150, repeats): both directions of 75 couples."""
    generator = np.random.default_rng(0)
    shared, own = generator.standard_normal((75, repeats))[PAIRED], generator.standard_normal((150, repeats))
    return (np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own < stats.norm.ppf(p)).astype(float)


@pytest.mark.parametrize("correlation", [0.0, 0.9])
@pytest.mark.parametrize("p", [0.07, 0.8, 0.95])
def test_rates_of_75_couples_are_covered(p, correlation):
    intervals = bootstrap(PAIRED).means(correlated_hits(p, correlation, 1500))
    assert np.mean([i.low <= p <= i.high for i in intervals]) >= 0.93


def test_an_mrr_near_chance_is_covered():
    """Reciprocal ranks are few large values among many small ones, which a plain variance misses."""
    reciprocal = 1 / np.random.default_rng(7).integers(1, 76, size=(150, 1500))
    chance = (1 / np.arange(1, 76)).mean()
    intervals = bootstrap(np.arange(150) % 75).means(reciprocal)
    assert np.mean([i.low <= chance <= i.high for i in intervals]) >= 0.93


def test_differences_of_75_couples_are_covered():
    gain = correlated_hits(0.3, 0.5, 1500) - correlated_hits(0.12, 0.5, 1500)[:, ::-1]
    assert np.mean([i.low <= 0.18 <= i.high for i in bootstrap(PAIRED).differences(gain)]) >= 0.93


def test_many_independent_queries_give_wilsons_interval():
    hits = np.arange(4000) < 500
    (ours,) = bootstrap(np.arange(4000)).means(hits[:, None])
    wilson = stats.binomtest(500, 4000).proportion_ci(method="wilson")
    assert (ours.value, ours.low, ours.high) == pytest.approx((0.125, wilson.low, wilson.high), abs=5e-4)


UNEQUAL = np.repeat(np.arange(9), [1, 6, 2, 1, 3, 1, 2, 1, 4])  # 9 clusters that count as 6


@pytest.mark.parametrize("kind", ["few hits", "few misses", "reciprocal ranks"])
def test_the_interval_of_a_mean_is_the_one_written_out_by_loops(kind):
    scores = np.random.default_rng(8).random(len(UNEQUAL))
    scores = {"few hits": scores > 0.8, "few misses": scores < 0.9, "reciprocal ranks": 1 / (1 + 9 * scores).round()}
    how = {"confidence": 0.8, "num_resamples": 300, "seed": 3}
    (ours,) = ClusterBootstrap(UNEQUAL, **how).means(scores[kind][:, None])
    assert (ours.low, ours.high) == pytest.approx(by_loops.wilson(scores[kind].astype(float), UNEQUAL, **how), rel=1e-9)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_the_interval_of_a_difference_is_the_one_written_out_by_loops(share):
    generator = np.random.default_rng(9)
    differences = generator.normal(0.1, 0.2, len(UNEQUAL)) * (generator.random(len(UNEQUAL)) < share)
    (ours,) = bootstrap(UNEQUAL, num_resamples=300).differences(differences[:, None])
    t = stats.t.ppf(0.975, by_loops.effective(UNEQUAL) - 1)
    half = t * by_loops.paired_variance(differences, UNEQUAL, num_resamples=300, seed=0) ** 0.5
    assert half > 0 and ours.high - ours.value == ours.value - ours.low == pytest.approx(half, rel=1e-9)


@pytest.mark.parametrize("num", [len(UNEQUAL), len(UNEQUAL) - 1])
def test_the_interval_of_a_median_is_the_one_written_out_by_loops(num):
    ranks, clusters = np.random.default_rng(10).integers(1, 76, num), UNEQUAL[:num]
    ours = bootstrap(clusters, num_resamples=300).median(ranks, largest=75)
    medians = [np.median(ranks[chosen]) for chosen in by_loops.resamples(clusters, num_resamples=300, seed=0)]
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(medians, (0.025, 0.975))))


@given(
    scores=st.lists(st.sampled_from([0.0, 0.1, 1 / 3, 0.5, 1.0]), min_size=1, max_size=12),
    clusters=st.lists(st.integers(0, 5), min_size=12, max_size=12),
    seed=st.integers(0, 9),
)
def test_intervals_stay_in_range_and_hold_the_value(scores, clusters, seed):
    column = np.array(scores)[:, None]
    one = bootstrap(clusters[: len(scores)], num_resamples=100, seed=seed)
    (mean,), (difference,) = one.means(column), one.differences(1 - 2 * column)
    assert 0 <= mean.low <= mean.value <= mean.high <= 1
    assert mean.value == pytest.approx(column.mean())
    assert mean.high > mean.low
    assert -1 <= difference.low <= difference.high <= 1
    median = one.median(1 + 9 * column[:, 0], largest=10)
    assert 1 <= median.low <= median.high <= 10
    assert median.value == np.median(1 + 9 * column[:, 0])


def test_without_a_miss_the_interval_reaches_one_and_leaves_room_below():
    (perfect,), (hopeless,) = bootstrap(PAIRED).means(np.ones((150, 1))), bootstrap(PAIRED).means(np.zeros((150, 1)))
    assert (perfect.value, perfect.high, hopeless.value, hopeless.low) == (1, 1, 0, 0)
    assert 0.93 < perfect.low < 0.97
    assert hopeless.high == pytest.approx(1 - perfect.low)


def test_one_cluster_tells_nothing():
    alone = bootstrap(np.zeros(6))
    (mean,), (difference,) = alone.means(np.full((6, 1), 0.5)), alone.differences(np.full((6, 1), 0.1))
    assert (mean.low, mean.high, difference.low, difference.high) == (0, 1, -1, 1)
    median = alone.median(np.arange(1, 7), largest=9)
    assert (median.low, median.high) == (1, 9)
