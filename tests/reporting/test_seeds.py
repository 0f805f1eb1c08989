"""Intervals over seeds: coverage, and the variance written out with loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from style_match.evaluation.bootstrap import ClusterBootstrap
from style_match.reporting.statistics import seed_differences, seed_means, seed_spread
from tests.evaluation import by_loops

PAIRED = np.tile(np.arange(75), 2)
HOW = {"confidence": 0.95, "num_resamples": 1000, "seed": 0}


def hits(num_seeds, repeats, *, p, seed_effect, generator, kept=0.7):
    """(S, 150, repeats): latent Gaussians of variance 1; couples correlated by 0.5, seeds by `kept`, a seed effect."""

    def couples():
        shared = generator.standard_normal((75, repeats))[PAIRED]
        return np.sqrt(0.5) * shared + np.sqrt(0.5) * generator.standard_normal((150, repeats))

    lasting, rest = couples(), 1 - seed_effect**2
    seeds = [
        np.sqrt(rest * kept) * lasting
        + np.sqrt(rest * (1 - kept)) * couples()
        + seed_effect * generator.standard_normal(repeats)
        for _ in range(num_seeds)
    ]
    return (np.stack(seeds) < stats.norm.ppf(p)).astype(float)


@pytest.mark.parametrize(
    ("num_seeds", "p", "seed_effect"), [(3, 0.07, 0.0), (3, 0.4, 0.1), (5, 0.4, 0.1), (5, 0.95, 0.1)]
)
def test_means_and_differences_over_seeds_are_covered(num_seeds, p, seed_effect):
    generator = np.random.default_rng(num_seeds)
    one, other = (hits(num_seeds, 1000, p=q, seed_effect=seed_effect, generator=generator) for q in (p, p - 0.05))
    means, differences = seed_means(one, PAIRED, **HOW), seed_differences(one - other, PAIRED, **HOW)
    assert np.mean([i.low <= p <= i.high for i in means]) >= 0.93
    assert np.mean([i.low <= 0.05 <= i.high for i in differences]) >= 0.93


@given(num_seeds=st.integers(1, 4), seed=st.integers(0, 99))
def test_equal_seeds_are_one_seed(num_seeds, seed):
    generator = np.random.default_rng(seed)
    clusters, one = generator.integers(0, 9, 20), generator.integers(0, 3, (20, 3)) / 2
    plain = ClusterBootstrap(clusters, **HOW)
    scores = np.tile(one, (num_seeds, 1, 1))
    for ours, theirs in (
        (seed_means(scores, clusters, **HOW), plain.means(one)),
        (seed_differences(scores - 0.5, clusters, **HOW), plain.differences(one - 0.5)),
    ):
        assert [(i.value, i.low, i.high) for i in ours] == [
            pytest.approx((i.value, i.low, i.high), abs=1e-12) for i in theirs
        ]


@pytest.mark.parametrize("seed_effect", [0.4, 0.0])
def test_the_interaction_of_seeds_and_clusters_is_counted_once(seed_effect):
    """Clusters of 4 on which each seed does otherwise: two-way analysis of variance of the cells (C, S)."""
    num_seeds, num_clusters, size = 3, 8, 4
    generator = np.random.default_rng(3)
    cells = generator.normal(0, 0.3, (num_clusters, num_seeds))
    cells += seed_effect * np.array([-1, 0, 1]) - cells.mean(0)
    scores = np.repeat(cells.T, size, axis=1) + generator.normal(0, 0.01, (num_seeds, num_clusters * size))
    clusters = np.repeat(np.arange(num_clusters), size)
    cells = np.array([[scores[s, clusters == c].mean() for s in range(num_seeds)] for c in range(num_clusters)])
    of_cluster, of_seed, mean = cells.mean(1), cells.mean(0), cells.mean()
    residual = 0.0
    for c, s in np.ndindex(cells.shape):
        residual += (cells[c, s] - of_cluster[c] - of_seed[s] + mean) ** 2
    interaction = residual / (num_clusters - 1) / (num_seeds - 1) / num_clusters / num_seeds
    of_seeds = sum((value - mean) ** 2 for value in of_seed) / (num_seeds - 1) / num_seeds
    assert (interaction < of_seeds) == bool(seed_effect) and interaction > 0.05 * of_seeds
    how = {"num_resamples": 300, "seed": 0}
    own = by_loops.paired_variance(scores.mean(0), clusters, **how)
    t = np.average(stats.t.ppf(0.975, [num_clusters - 1, num_seeds - 1]), weights=[own, of_seeds])
    half = t * (own + max(of_seeds - interaction, 0)) ** 0.5
    (ours,) = seed_differences(scores[..., None], clusters, confidence=0.95, **how)
    assert ours.high - ours.value == pytest.approx(half, rel=1e-9)


def test_one_cluster_tells_nothing():
    (mean,) = seed_means(np.full((3, 4, 1), 0.5), np.zeros(4), **HOW)
    assert (mean.value, mean.low, mean.high) == (0.5, 0, 1)


def test_the_spread_is_that_of_the_seeds_means():
    scores = np.array([[[0.0, 1], [0.5, 1]], [[0.5, 1], [1.0, 1]]])
    assert seed_spread(scores) == pytest.approx([np.std([0.25, 0.75], ddof=1), 0])
    assert np.isnan(seed_spread(scores[:1])).all()


@pytest.mark.parametrize(
    "scores", [np.zeros((3, 4)), np.zeros((3, 5, 1)), np.zeros((0, 4, 1)), np.full((1, 4, 1), np.nan)]
)
def test_scores_of_another_shape_or_not_finite_are_refused(scores):
    with pytest.raises(ValueError, match="scores must be"):
        seed_means(scores, np.arange(4), **HOW)
