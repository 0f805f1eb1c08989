"""Tests of paired differences: over clusters, over repeated splits and over independent worlds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from style_match.evaluation.intervals import Interval

BETTER, WORSE, NOT_DISTINGUISHABLE = "better", "worse", "not distinguishable"
_DECIMALS = 9
_CELLS = 4_000_000  # signs are drawn in chunks of at most this many (resample, cluster) cells


def sign_flip(differences: ArrayLike, clusters: ArrayLike, *, num_resamples: int, seed: int) -> float:
    """Two-sided p value of paired `differences` (Q,) being 0 on average: random signs for whole `clusters` (Q,).

    Under the null hypothesis the two models may be exchanged within each cluster, so that each cluster's sum is as
    likely as its negative (Fisher 1935). All 2^C signs are enumerated where that is at most `num_resamples`, else
    `num_resamples` are drawn, and p is at least 1 / (num_resamples + 1) (Phipson and Smyth 2010). Clusters whose sum
    is 0 do not count in C; without any other p is 1.

    Differences over S seeds are averaged over the seeds first: p then holds for these trainings alone and knows nothing
    of the spread over seeds, which `seeds.seed_differences` has in it. `verdict` asks for both.
    """
    differences = _finite(differences, "differences")
    clusters = np.asarray(clusters)
    if clusters.shape != differences.shape:
        raise ValueError(f"{differences.shape} differences with clusters of shape {clusters.shape}")
    _, cluster = np.unique(clusters, return_inverse=True)
    sums = np.bincount(cluster, differences) / max(np.abs(differences).max(), np.finfo(float).tiny)
    sums = sums[np.abs(sums) > 10.0**-_DECIMALS]  # less is what rounding leaves of differences that cancel
    if len(sums) < 2:
        return 1.0  # nothing differs, or one cluster alone, whose two signs are as far from 0
    least = abs(sums.sum()) - 10.0**-_DECIMALS  # sums that differ by their order alone are ties
    exact = 2 ** len(sums) <= num_resamples
    count = 2 ** len(sums) if exact else num_resamples
    as_far = sum(int((np.abs(signs @ sums) >= least).sum()) for signs in _signs(len(sums), count, exact, seed))
    return as_far / count if exact else (as_far + 1) / (count + 1)


def _signs(num_clusters: int, count: int, exact: bool, seed: int) -> Iterator[NDArray]:
    """`count` rows of signs (n, C), in chunks: all there are, or drawn."""
    generator, bits = np.random.default_rng(seed), np.arange(num_clusters)
    rows = max(1, _CELLS // num_clusters)
    for begin in range(0, count, rows):
        end = min(begin + rows, count)
        if exact:
            heads = np.arange(begin, end)[:, None] >> bits & 1
        else:
            heads = generator.integers(0, 2, (end - begin, num_clusters), dtype=np.int8)
        yield 2.0 * heads - 1


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for all being looked at, in the order given (Holm 1979); none for none."""
    p = _finite(p_values, "p values", least=0)
    if ((p < 0) | (p > 1)).any():
        raise ValueError("p values lie between 0 and 1")
    order = p.argsort(kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted.tolist()


def corrected_t(differences: ArrayLike, *, test_share: float, confidence: float) -> tuple[Interval, float | None]:
    """Mean of `differences` (J,) over J repeated splits of the same data, with interval and two-sided p value.

    The corrected resampled t-test (Nadeau and Bengio 2003, "Inference for the Generalization Error"): the variance over
    splits, times 1 / J + `test_share`, because the splits share training data. `test_share` is the number of
    test couples (or profiles) of a split over that of training ones; for K folds without validation part 1 / (K - 1).
    Differences that are all equal say nothing of their spread: no p value, and an interval without width.
    """
    if not test_share > 0:
        raise ValueError(f"test_share must be above 0, not {test_share}")
    return _t_test(differences, test_share, confidence)


def paired_t(differences: ArrayLike, *, confidence: float) -> tuple[Interval, float | None]:
    """As `corrected_t` for `differences` (J,) of J independent units, such as demo worlds: Student's t, uncorrected."""
    return _t_test(differences, 0.0, confidence)


def verdict(interval: Interval, p_adjusted: float, alpha: float) -> str:
    """`BETTER` or `WORSE` if `p_adjusted` is at most `alpha` and the interval leaves out 0, or `NOT_DISTINGUISHABLE`.

    Both are needed: the interval has the spread over seeds in it, which `sign_flip` has not, p the adjustment.
    """
    if p_adjusted <= alpha and interval.low > 0:
        return BETTER
    if p_adjusted <= alpha and interval.high < 0:
        return WORSE
    return NOT_DISTINGUISHABLE


def _t_test(differences: ArrayLike, shared: float, confidence: float) -> tuple[Interval, float | None]:
    from scipy.special import stdtr, stdtrit

    differences = _finite(differences, "differences", least=2)
    count, value = len(differences), float(differences.mean())
    if np.ptp(differences) < 10.0**-_DECIMALS:
        return Interval(value, value, value), None
    error = float(np.sqrt((1 / count + shared) * differences.var(ddof=1)))
    half = error * float(stdtrit(count - 1, (1 + confidence) / 2))
    return Interval(value, value - half, value + half), 2 * float(stdtr(count - 1, -abs(value) / error))


def _finite(values: ArrayLike, what: str, least: int = 1) -> NDArray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or len(array) < least or not np.isfinite(array).all():
        raise ValueError(f"{what} must be a row of at least {least} finite numbers, not {array!r}")
    return array
