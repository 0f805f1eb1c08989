"""Confidence intervals by a bootstrap over clusters of connected people.

Queries of one cluster (both directions of a couple, couples that share a profile) are resampled together, which gives
the standard error of a mean whatever the correlation within clusters. How the interval follows from it:

- `means` of scores in [0, 1]: Wilson's score interval (Wilson 1927) with the bootstrap's variance in place of the
  binomial one, and Student's t with the effective number of clusters less one. With 75 couples, percentile, BCa and
  Student-t intervals cover as little as 87 to 89 % near 1, because a sample of few misses (or hits) understates the
  variance. So half a cluster of the largest possible variance is added, which matters only where either are few.
- `differences` of two models on the same queries: mean difference plus and minus Student's t times the standard error.
  Two models that differ on few couples show too few of the differences there are (89 % covered), so a quarter of one
  more cluster, as far from the mean as the farthest seen, is added to the variance: 2 to 4 % more width at 75 couples.
- `median` of ranks: percentiles of the bootstrap distribution.

`experiments/coverage` measures them: 94.2 % or more for means from 0.07 to 0.95, 94.0 % or more for differences
of ranks, and less only where two models differ on about three couples.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

PRIOR_CLUSTERS = 0.5
PRIOR_OUTLIERS = 0.25
_CELLS = 4_000_000  # resampling is done in chunks of at most this many (resample, cluster) counts


@dataclass(frozen=True)
class Interval:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OtherVariance:
    """Variance of the means that does not come from the clusters, but from seeds of the training, for example.

    The t of the total is Cochran and Cox's (1950, "Experimental Designs"): each part's t, weighted by the part.

    Attributes:
        variance: (M,).
        mean_square: (M,) from which the variance was estimated.
        freedom: Its degrees of freedom.
    """

    variance: NDArray
    mean_square: NDArray
    freedom: float


class ClusterBootstrap:
    """Intervals for scores of Q queries.

    The resamples depend only on `seed` and the clusters, so calls for several models are paired. With one cluster the
    spread is unknown, and the intervals are the full range.

    Args:
        clusters: (Q,) numbers, equal for queries that belong together.
        confidence: Of the intervals.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """

    def __init__(self, clusters: ArrayLike, *, confidence: float, num_resamples: int, seed: int) -> None:
        _, self._cluster, sizes = np.unique(np.asarray(clusters), return_inverse=True, return_counts=True)
        self._sizes = sizes.astype(float)
        self._num_resamples, self._seed = num_resamples, seed
        self._tails = (1 - confidence) / 2, (1 + confidence) / 2
        self.num_clusters = len(sizes)
        self.effective_clusters = float(self._sizes.sum() ** 2 / (self._sizes**2).sum())

    def means(self, scores: ArrayLike, other: OtherVariance | None = None) -> list[Interval]:
        """Return the interval of each column's mean of scores (Q, M) in [0, 1]; `other` is added to the variance."""
        scores = np.asarray(scores, dtype=float)
        value = scores.mean(0).clip(0, 1)
        if self.num_clusters < 2:
            return [Interval(v, 0.0, 1.0) for v in value.tolist()]
        worst = value * (1 - value)  # times 1 / effective clusters: the variance if each cluster were all 0 or all 1
        hits = self.effective_clusters * np.minimum(value, 1 - value)
        scale = self.effective_clusters / np.where(worst > 0, worst, 1)
        share = (self._variance(scores) * scale * hits + PRIOR_CLUSTERS) / (hits + PRIOR_CLUSTERS)
        t_squared = self._t_squared(share, other, scale)
        weight = t_squared * (share + (other.variance * scale if other else 0)) / self.effective_clusters
        centre = (value + weight / 2) / (1 + weight)
        half = np.sqrt(weight * worst + weight**2 / 4) / (1 + weight)
        # Without misses (or hits) centre plus half is 1 (or centre minus half 0) only up to rounding.
        low, high = np.minimum(centre - half, value).clip(0, 1), np.maximum(centre + half, value).clip(0, 1)
        return [Interval(*row) for row in zip(value.tolist(), low.tolist(), high.tolist(), strict=True)]

    def differences(self, scores: ArrayLike, other: OtherVariance | None = None) -> list[Interval]:
        """Return the interval of each column's mean of differences (Q, M) in [-1, 1]; `other` as in `means`."""
        scores = np.asarray(scores, dtype=float)
        value = scores.mean(0)
        if self.num_clusters < 2:
            return [Interval(v, -1.0, 1.0) for v in value.tolist()]
        outlier = np.abs(self._sums(scores) - self._sizes[:, None] * value).max(0) / len(scores)
        variance = self._variance(scores) + PRIOR_OUTLIERS * outlier**2
        half = np.sqrt(self._t_squared(variance, other) * (variance + (other.variance if other else 0)))
        low, high = (value - half).clip(-1, 1), (value + half).clip(-1, 1)
        return [Interval(*row) for row in zip(value.tolist(), low.tolist(), high.tolist(), strict=True)]

    def median(self, ranks: ArrayLike, *, largest: float) -> Interval:
        """Return the interval of the median of `ranks` (Q,), which are between 1 and `largest`."""
        ranks = np.asarray(ranks, dtype=float)
        value = float(np.median(ranks))
        if self.num_clusters < 2:
            return Interval(value, 1.0, float(largest))
        order = np.argsort(ranks, kind="stable")
        ordered, cluster = ranks[order], self._cluster[order]
        medians = []
        for counts in self._resamples():
            for row in counts:
                below = row[cluster].cumsum()
                middle = (below[-1] + 1) // 2, below[-1] // 2 + 1  # the two middle places, equal when the count is odd
                medians.append(ordered[np.searchsorted(below, middle)].mean())
        low, high = np.quantile(medians, self._tails)
        return Interval(value, float(low), float(high))

    def _variance(self, scores: NDArray) -> NDArray:
        """Return the unbiased variance (M,) of the mean over queries when clusters are drawn with replacement."""
        sums = self._sums(scores)
        means = np.concatenate([(counts @ sums) / (counts @ self._sizes)[:, None] for counts in self._resamples()])
        return ((means - scores.mean(0)) ** 2).mean(0) * self.num_clusters / (self.num_clusters - 1)

    def _sums(self, scores: NDArray) -> NDArray:
        sums = np.zeros((self.num_clusters, scores.shape[1]))
        np.add.at(sums, self._cluster, scores)
        return sums

    def _t_squared(self, own: NDArray, other: OtherVariance | None, scale: NDArray | float = 1.0) -> NDArray:
        """Return t squared (M,) for the clusters' variance `own` and the `other`, which `scale` makes comparable."""
        from scipy.special import stdtrit

        t = np.full(own.shape, stdtrit(max(self.effective_clusters - 1, 1e-3), self._tails[1]))
        if other:
            share = other.mean_square * scale
            total = own + share
            t += (stdtrit(other.freedom, self._tails[1]) - t) * share / np.where(total > 0, total, 1)
        return t**2

    def _resamples(self) -> Iterator[NDArray]:
        """Yield chunks (resamples, clusters) of how often each cluster was drawn."""
        generator = np.random.default_rng(self._seed)
        chunk = max(1, _CELLS // self.num_clusters)
        for start in range(0, self._num_resamples, chunk):
            rows = min(chunk, self._num_resamples - start)
            drawn = generator.integers(self.num_clusters, size=(rows, self.num_clusters))
            drawn += np.arange(rows)[:, None] * self.num_clusters
            counts = np.bincount(drawn.ravel(), minlength=rows * self.num_clusters)
            yield counts.reshape(rows, self.num_clusters).astype(float)
