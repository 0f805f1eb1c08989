"""Intervals and tests: galleries of one size, means over seeds, paired differences over clusters, splits, worlds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from style_match.evaluation.bootstrap import ClusterBootstrap, Interval, OtherVariance
from style_match.reporting.runs import PRIMARY, Options, Queries, Row, Run, TestSet
from style_match.utils.errors import UserError

# Scores in galleries of one size: what a query would score on average with fewer rivals, exactly.
#
# A query with rank r among G candidates has r - 1 rivals ahead of it. If the true partner stays and size - 1 of the G
# - 1 rivals are drawn without replacement, the number that stays ahead is hypergeometric. No gallery is drawn: the
# expectation over all subsets is taken in closed form. Every query has its own subset; galleries that queries share
# give the same means.


def expected_recall(ranks: ArrayLike, gallery: ArrayLike, size: int, k: int) -> NDArray:
    """Probability (Q,) that the partner is among the first `k` when each query's gallery is cut to `size`."""
    from scipy.stats import hypergeom

    ranks, gallery = _checked_galleries(ranks, gallery, size)
    expected = hypergeom.cdf(k - 1, gallery - 1, ranks - 1, size - 1)
    return np.where(gallery == size, ranks <= k, expected).clip(0, 1)


def expected_reciprocal_rank(ranks: ArrayLike, gallery: ArrayLike, size: int) -> NDArray:
    """Expectation (Q,) of 1 / rank when each query's gallery is cut to `size`.

    With X rivals left ahead, E[1 / (1 + X)] = G / (r size) (1 - C(G - r, size) / C(G, size)).
    """
    from scipy.stats import hypergeom

    ranks, gallery = _checked_galleries(ranks, gallery, size)
    expected = gallery / (ranks * size) * hypergeom.sf(0, gallery, ranks, size)
    return np.where(gallery == size, 1 / ranks, expected)


def _checked_galleries(ranks: ArrayLike, gallery: ArrayLike, size: int) -> tuple[NDArray, NDArray]:
    ranks, gallery = np.broadcast_arrays(np.asarray(ranks), np.asarray(gallery))
    if not ((ranks >= 1) & (ranks <= gallery)).all():
        raise ValueError("ranks must lie between 1 and the gallery")
    if size < 1 or (gallery < size).any():
        raise ValueError(f"a gallery of {gallery.min()} cannot be cut to {size} candidates")
    return ranks, gallery


# Means over several seeds of training: couples and seeds are both samples, and their variances add.
#
# A score of seed s in cluster c is taken as mean + seed effect + cluster effect + their interaction (both random and
# crossed). The variance of the mean over S seeds and C clusters is then
#
# V(clusters) + V(seeds) - V(interaction)
#
# - V(clusters): the cluster bootstrap of the scores averaged over seeds (cluster effect / C + interaction / SC); -
# V(seeds): variance of the seeds' means, over S (seed effect / S + interaction / SC); - V(interaction): what both
# hold, once too often (Searle, Casella and McCulloch 1992, "Variance Components", ch. 4).
#
# V(seeds) - V(interaction) is not let below zero. Student's t is Cochran and Cox's: that of the clusters and that of
# the S - 1 degrees of freedom of the seeds, weighted by V(clusters) and V(seeds). Welch and Satterthwaite's degrees
# of freedom cover less where the seeds' variance happens to come out small. Drawing seeds and clusters with
# replacement together (Owen 2007, "The pigeonhole bootstrap") counts the interaction thrice, finds the seeds'
# variance short by 1 / S and its percentiles know no t; with three seeds that matters. The interval is of the form of
# `evaluation.intervals`: Wilson's for means, symmetric for differences.
#
# One seed says nothing about the spread over seeds: its interval holds for that training alone, as for models that
# are not trained (chance, frozen). `experiments/coverage` measures the intervals.


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


# Intervals and p values of a table, under one of three designs that the runs' test sets tell.
#
# - couples: one test set, or the folds of one split, whose queries are pooled: clusters of connected people; -
# splits: several splits of one dataset, each fold of each a unit: the corrected resampled t-test; - worlds: several
# datasets: Student's t over them, each the mean of its splits and folds.


METHODS = {
    "couples": (
        "Intervals: bootstrap over connected people, with the variance over seeds added where a head was trained with "
        "several; Wilson's form for means, Student's t for differences. p: signs of connected people's differences "
        "flipped, scores averaged over seeds."
    ),
    "splits": "Intervals and p: corrected resampled t over splits of one dataset (Nadeau and Bengio 2003).",
    "worlds": "Intervals and p: Student's t over independent datasets, paired for differences.",
}


class Block:
    """Test sets whose queries are pooled, as `row` has them; `clusters` (Q,) number the connected people."""

    def __init__(self, test_sets: Sequence[TestSet], row: Row):
        self.test_sets = sorted(test_sets, key=lambda test_set: test_set.fold or 0)
        parts = [row.on(test_set)[0].queries(row.model) for test_set in self.test_sets]
        self.queries: list[str] = [query for part in parts for query in part.columns["query"]]
        self.asked = frozenset(question for part in parts for question in part.asked)
        self.clusters: NDArray = np.empty(0, dtype=int)
        for part in parts:
            begin = self.clusters.max(initial=-1) + 1  # nobody is in two folds
            self.clusters = np.concatenate([self.clusters, part.columns["cluster"] + begin])

    def scores(self, row: Row, metrics: Sequence[str], gallery: int | None) -> NDArray:
        """(S, Q, M) of a row, each in [0, 1]; `gallery` is the common one, if any."""
        parts = [
            np.stack([_scores(run, row.model, metrics, gallery) for run in row.on(test_set)])
            for test_set in self.test_sets
        ]
        return np.concatenate(parts, axis=1)


def design_of(test_sets: Sequence[TestSet]) -> str:
    """A key of METHODS."""
    if len({test_set.data for test_set in test_sets}) > 1:
        return "worlds"
    return "splits" if len({test_set.split_seed for test_set in test_sets}) > 1 else "couples"


def blocks_of(row: Row) -> list[Block]:
    """The test sets of a row, pooled as its design wants it.

    Raises:
        UserError: two splits of one dataset are the same, so that they are no repetition.
    """
    design, found = design_of(row.test_sets), dict[Any, list[TestSet]]()
    for test_set in row.test_sets:
        unit = test_set if design == "splits" else (test_set.data, test_set.split_seed)
        found.setdefault(unit, []).append(test_set)
    blocks = [Block(test_sets, row) for test_sets in found.values()]
    for place, block in enumerate(blocks):
        for other in blocks[:place]:
            if block.test_sets[0].data == other.test_sets[0].data and block.asked == other.asked:
                raise UserError(
                    f"{other.test_sets[0]} and {block.test_sets[0]} ask the same queries: splits that the data brings "
                    "along do not change with split.seed. Report the runs of one split.seed."
                )
    return blocks


class Estimate:
    """Intervals and p values of scores (S, Q, M), one array a block; `test_share` is test items over training items."""

    def __init__(self, design: str, blocks: Sequence[Block], test_share: float, options: Options):
        self.design, self.blocks, self.test_share, self.options = design, blocks, test_share, options

    def means(self, parts: Sequence[NDArray]) -> list[Interval]:
        if self.design == "couples":
            return seed_means(parts[0], self.blocks[0].clusters, **self._bootstrap())
        # means of scores in [0, 1], which a t interval does not know
        intervals = [self._t(column)[0] for column in self._by_unit(parts).T]
        return [replace(i, low=max(i.low, 0.0), high=min(i.high, 1.0)) for i in intervals]

    def exact(self, parts: Sequence[NDArray]) -> list[Interval]:
        """Of what is known and not measured, such as chance."""
        means = parts[0].mean((0, 1)) if self.design == "couples" else self._by_unit(parts).mean(0)
        return [Interval(value, value, value) for value in means.tolist()]

    def differences(self, parts: Sequence[NDArray]) -> list[Interval]:
        if self.design == "couples":
            return seed_differences(parts[0], self.blocks[0].clusters, **self._bootstrap())
        return [self._t(column)[0] for column in self._by_unit(parts).T]

    def p_value(self, parts: Sequence[NDArray]) -> float | None:
        """Of differences (S, Q) in one metric; None where splits or worlds all differ alike."""
        if self.design == "couples":
            flips = {"num_resamples": self.options.num_flips, "seed": self.options.seed}
            return sign_flip(parts[0].mean(0), self.blocks[0].clusters, **flips)
        return self._t(self._by_unit([part[:, :, None] for part in parts])[:, 0])[1]

    def _t(self, values: NDArray) -> tuple[Interval, float | None]:
        if self.design == "worlds":
            return paired_t(values, confidence=self.options.confidence)
        return corrected_t(values, test_share=self.test_share, confidence=self.options.confidence)

    def _by_unit(self, parts: Sequence[NDArray]) -> NDArray:
        """(J, M): the mean of each split, or of each dataset over its splits."""
        means = np.stack([part.mean((0, 1)) for part in parts])
        if self.design == "splits":
            return means
        data = [block.test_sets[0].data for block in self.blocks]
        return np.stack([means[[d == one for d in data]].mean(0) for one in dict.fromkeys(data)])

    def _bootstrap(self) -> dict[str, Any]:
        options = self.options
        return {"confidence": options.confidence, "num_resamples": options.num_resamples, "seed": options.seed}


def _scores(run: Run, model: str, metrics: Sequence[str], gallery: int | None) -> NDArray:
    """(Q, M) of one run; chance has the same expectation for every query."""
    queries = run.queries(model)
    if model == "chance":
        of = run.metrics["chance"]
        values = [_chance(metric, gallery) if gallery else of[metric]["value"] for metric in metrics]
        return np.tile(values, (len(queries.asked), 1))
    return np.stack([_score(queries, metric, gallery) for metric in metrics], axis=1)


def _score(queries: Queries, metric: str, gallery: int | None) -> NDArray:
    if gallery is None:
        return queries.score(metric)
    rank, size = queries.columns["rank"], queries.columns["gallery"]
    if metric == PRIMARY:
        return expected_reciprocal_rank(rank, size, gallery)
    return expected_recall(rank, size, gallery, int(metric.partition("@")[2]))


def _chance(metric: str, gallery: int) -> float:
    """Of one right answer among `gallery`."""
    if metric == PRIMARY:
        return float(np.mean(1 / np.arange(1, gallery + 1)))
    return int(metric.partition("@")[2]) / gallery
