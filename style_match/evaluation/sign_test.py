"""The p value of a paired difference, by random signs of connected people."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

NUM_FLIPS = 99_999  # random signs; all 2^C signs are tried where these are fewer
_DECIMALS = 9
_CELLS = 4_000_000  # signs are drawn in chunks of at most this many (resample, cluster) cells


def sign_flip(differences: ArrayLike, clusters: ArrayLike, *, num_resamples: int, seed: int) -> float:
    """Return the two-sided p value of paired differences being 0 on average, by random signs of clusters.

    Under the null hypothesis the two models can be exchanged within each cluster, so each cluster's sum is as likely as
    its negative (Fisher 1935). All 2^C signs are tried if these are at most `num_resamples`; otherwise `num_resamples`
    are drawn, and p is at least 1 / (num_resamples + 1) (Phipson and Smyth 2010). Clusters whose sum is 0 do not count
    in C; p is 1 if fewer than two clusters are left.

    Differences over S seeds are averaged over the seeds first: p then holds for these trainings only, and does not
    contain the spread over seeds.

    Args:
        differences: (Q,) of two models on the same queries.
        clusters: (Q,) numbers, equal for queries that belong together.
        num_resamples: Number of random signs.
        seed: Of the random signs.

    Raises:
        ValueError: Other shapes, or differences that are not finite.
    """
    differences, clusters = np.asarray(differences, dtype=float), np.asarray(clusters)
    if differences.ndim != 1 or not len(differences) or not np.isfinite(differences).all():
        raise ValueError(f"differences must be a row of finite numbers, not {differences!r}")
    if clusters.shape != differences.shape:
        raise ValueError(f"{differences.shape} differences with clusters of shape {clusters.shape}")
    _, cluster = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster, differences) / max(np.abs(differences).max(), np.finfo(float).tiny)
    sums = sums[np.abs(sums) > 10.0**-_DECIMALS]  # smaller sums are rounding errors of differences that cancel
    if len(sums) < 2:
        return 1.0
    least = abs(sums.sum()) - 10.0**-_DECIMALS  # sums that differ only by the order of addition are ties
    exact = 2 ** len(sums) <= num_resamples
    count = 2 ** len(sums) if exact else num_resamples
    as_far = sum(int((np.abs(signs @ sums) >= least).sum()) for signs in _signs(len(sums), count, exact, seed))
    return as_far / count if exact else (as_far + 1) / (count + 1)


def _signs(num_clusters: int, count: int, exact: bool, seed: int) -> Iterator[NDArray]:
    """Yield `count` rows of signs (n, C) in chunks: all that exist, or random ones."""
    generator, bits = np.random.default_rng(seed), np.arange(num_clusters)
    rows = max(1, _CELLS // num_clusters)
    for begin in range(0, count, rows):
        end = min(begin + rows, count)
        if exact:
            heads = np.arange(begin, end)[:, None] >> bits & 1
        else:
            heads = generator.integers(0, 2, (end - begin, num_clusters), dtype=np.int8)
        yield 2.0 * heads - 1
