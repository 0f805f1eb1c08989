"""Means over several seeds of training: couples and seeds are both samples, and their variances add.

A score of seed s in cluster c is taken as mean + seed effect + cluster effect + their interaction (both random and
crossed). The variance of the mean over S seeds and C clusters is then

    V(clusters) + V(seeds) - V(interaction)

- V(clusters): the cluster bootstrap of the scores averaged over seeds (cluster effect / C + interaction / SC);
- V(seeds): variance of the seeds' means, over S (seed effect / S + interaction / SC);
- V(interaction): what both hold, once too often (Searle, Casella and McCulloch 1992, "Variance Components", ch. 4).

V(seeds) - V(interaction) is not let below zero. Student's t is Cochran and Cox's: that of the clusters and that of the
S - 1 degrees of freedom of the seeds, weighted by V(clusters) and V(seeds). Welch and Satterthwaite's degrees of
freedom cover less where the seeds' variance happens to come out small. Drawing seeds and clusters with replacement
together (Owen 2007, "The pigeonhole bootstrap") counts the interaction thrice, finds the seeds' variance short by 1 / S
and its percentiles know no t; with three seeds that matters. The interval is of the form of `evaluation.intervals`:
Wilson's for means, symmetric for differences.

One seed says nothing about the spread over seeds: its interval holds for that training alone, as for models that are
not trained (chance, frozen). `experiments/coverage` measures the intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from style_match.evaluation.intervals import ClusterBootstrap, Interval, OtherVariance


def seed_means(
    scores: ArrayLike, clusters: ArrayLike, *, confidence: float, num_resamples: int, seed: int
) -> list[Interval]:
    """Interval of the mean over seeds and queries of each metric of `scores` (S, Q, M), all in [0, 1].

    `clusters` (Q,) are numbers, equal for queries that belong together; `num_resamples` and `seed` are the bootstrap's.
    With S = 1, and with S equal seeds, it is `ClusterBootstrap.means`. Raises ValueError for other shapes or scores
    that are not finite.
    """
    scores = _checked(scores, clusters)
    bootstrap = ClusterBootstrap(clusters, confidence=confidence, num_resamples=num_resamples, seed=seed)
    return bootstrap.means(scores.mean(0), _seed_variance(scores, clusters))


def seed_differences(
    differences: ArrayLike, clusters: ArrayLike, *, confidence: float, num_resamples: int, seed: int
) -> list[Interval]:
    """As `seed_means` for `differences` (S, Q, M) of two models on the same queries, seed by seed, all in [-1, 1].

    A model without seeds (frozen) is subtracted from every seed of the other.
    """
    differences = _checked(differences, clusters)
    bootstrap = ClusterBootstrap(clusters, confidence=confidence, num_resamples=num_resamples, seed=seed)
    return bootstrap.differences(differences.mean(0), _seed_variance(differences, clusters))


def seed_spread(scores: ArrayLike) -> NDArray:
    """Standard deviation (M,) over seeds of the seeds' means of `scores` (S, Q, M); NaN with one seed."""
    scores = np.asarray(scores, dtype=float)
    if len(scores) < 2:
        return np.full(scores.shape[2], np.nan)
    return scores.mean(1).std(0, ddof=1)


def _checked(scores: ArrayLike, clusters: ArrayLike) -> NDArray:
    scores, num_queries = np.asarray(scores, dtype=float), len(np.asarray(clusters))
    if scores.ndim != 3 or not scores.size or scores.shape[1] != num_queries:
        raise ValueError(f"scores must be (seeds, {num_queries} queries, metrics), not {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite")
    return scores


def _seed_variance(scores: NDArray, clusters: ArrayLike) -> OtherVariance | None:
    num_seeds, num_queries, num_metrics = scores.shape
    _, cluster = np.unique(np.asarray(clusters), return_inverse=True)
    num_clusters = int(cluster.max()) + 1
    if num_seeds < 2 or num_clusters < 2:
        return None
    of_seeds = scores.mean(1).var(0, ddof=1) / num_seeds
    interaction = np.zeros(num_metrics)
    average = scores.mean(0)
    for one in scores:
        residual = one - average
        sums = np.zeros((num_clusters, num_metrics))
        np.add.at(sums, cluster, residual - residual.mean(0))
        interaction += (sums**2).sum(0)
    interaction *= num_clusters / (num_clusters - 1) / num_queries**2 / num_seeds / (num_seeds - 1)
    return OtherVariance((of_seeds - interaction).clip(min=0), of_seeds, num_seeds - 1)
