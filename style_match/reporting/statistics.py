"""Intervals and tests of a table: galleries of one size, means over seeds, paired differences, splits and worlds.

The runs' test sets decide between three designs:

- couples: one test set, or the folds of one split, whose queries are pooled. The bootstrap resamples clusters of
  connected people, and the variance over seeds is added.
- splits: several splits of one dataset, each fold of each a unit. Corrected resampled t-test.
- worlds: several datasets. Student's t over them, each the mean of its splits and folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from style_match.evaluation.bootstrap import ClusterBootstrap, Interval, OtherVariance
from style_match.evaluation.sign_test import NUM_FLIPS, sign_flip
from style_match.reporting.runs import PRIMARY, Options, Queries, Row, Run, TestSet
from style_match.utils.errors import UserError

BETTER, WORSE, NOT_DISTINGUISHABLE = "better", "worse", "not distinguishable"
_DECIMALS = 9


# ---------------------------------------------------------------- galleries of one size
#
# What a query would score on average with fewer rivals, in closed form: a query with rank r among G candidates has
# r - 1 rivals ahead of it. If the true partner stays and size - 1 of the G - 1 rivals are drawn without replacement,
# the number that stays ahead is hypergeometric.


def expected_recall(ranks: ArrayLike, gallery: ArrayLike, size: int, k: int) -> NDArray:
    """Return the probability (Q,) that the partner is among the first `k` if each query's gallery is cut to `size`."""
    from scipy.stats import hypergeom

    ranks, gallery = _checked_galleries(ranks, gallery, size)
    expected = hypergeom.cdf(k - 1, gallery - 1, ranks - 1, size - 1)
    return np.where(gallery == size, ranks <= k, expected).clip(0, 1)


def expected_reciprocal_rank(ranks: ArrayLike, gallery: ArrayLike, size: int) -> NDArray:
    """Return the expectation (Q,) of 1 / rank if each query's gallery is cut to `size`.

    With X rivals ahead, E[1 / (1 + X)] = G / (r size) (1 - C(G - r, size) / C(G, size)).
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


# ---------------------------------------------------------------- several seeds of training
#
# Couples and seeds are both samples, and their variances add. A score of seed s in cluster c is taken as mean + seed
# effect + cluster effect + their interaction (random and crossed). The variance of the mean over S seeds and C clusters
# is V(clusters) + V(seeds) - V(interaction):
#
# - V(clusters): the cluster bootstrap of the scores averaged over seeds (cluster effect / C + interaction / SC),
# - V(seeds): variance of the seeds' means, over S (seed effect / S + interaction / SC),
# - V(interaction): contained in both (Searle, Casella and McCulloch 1992, "Variance Components", ch. 4).
#
# V(seeds) - V(interaction) is not let below zero. Student's t is Cochran and Cox's: that of the clusters and that of
# the S - 1 degrees of freedom of the seeds, weighted by V(clusters) and V(seeds). Welch and Satterthwaite's degrees of
# freedom cover less where the seeds' variance happens to be small, and so does drawing seeds and clusters with
# replacement together (Owen 2007, "The pigeonhole bootstrap"), which counts the interaction three times. With one seed
# the interval holds for that training only. `experiments/coverage` measures the intervals.


def seed_means(
    scores: ArrayLike, clusters: ArrayLike, *, confidence: float, num_resamples: int, seed: int
) -> list[Interval]:
    """Return the interval of the mean over seeds and queries of each metric.

    Args:
        scores: (S, Q, M) in [0, 1]. With S = 1, and with S equal seeds, the result is `ClusterBootstrap.means`.
        clusters: (Q,) numbers, equal for queries that belong together.
        confidence: Of the intervals.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: Other shapes, or scores that are not finite.
    """
    scores = _checked(scores, clusters)
    bootstrap = ClusterBootstrap(clusters, confidence=confidence, num_resamples=num_resamples, seed=seed)
    return bootstrap.means(scores.mean(0), _seed_variance(scores, clusters))


def seed_differences(
    differences: ArrayLike, clusters: ArrayLike, *, confidence: float, num_resamples: int, seed: int
) -> list[Interval]:
    """Return intervals as `seed_means` for differences (S, Q, M) of two models on the same queries, in [-1, 1].

    A model without seeds (frozen) is subtracted from every seed of the other.
    """
    differences = _checked(differences, clusters)
    bootstrap = ClusterBootstrap(clusters, confidence=confidence, num_resamples=num_resamples, seed=seed)
    return bootstrap.differences(differences.mean(0), _seed_variance(differences, clusters))


def seed_spread(scores: ArrayLike) -> NDArray:
    """Return the standard deviation (M,) over seeds of the means of `scores` (S, Q, M); NaN with one seed."""
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


# ---------------------------------------------------------------- tests


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values adjusted for testing all of them, in the given order (Holm 1979)."""
    p = _finite(p_values, "p values", least=0)
    if ((p < 0) | (p > 1)).any():
        raise ValueError("p values lie between 0 and 1")
    order = p.argsort(kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1)
    return adjusted.tolist()


def t_test(differences: ArrayLike, *, confidence: float, test_share: float = 0.0) -> tuple[Interval, float | None]:
    """Return the mean of the differences of units with interval and two-sided p value, by Student's t.

    Args:
        differences: (J,) of independent units, such as demo worlds, or of repeated splits of one dataset.
        confidence: Of the interval.
        test_share: For splits, which share training data: test items of a split over its training items, for K folds
            without validation part 1 / (K - 1). The variance is multiplied by 1 / J + `test_share` instead of 1 / J:
            corrected resampled t-test (Nadeau and Bengio 2003, "Inference for the Generalization Error").

    Returns:
        The interval and p. Equal differences do not show their spread: p is None, and the interval has no width.

    Raises:
        ValueError: Fewer than two differences, or one that is not finite.
    """
    from scipy.special import stdtr, stdtrit

    differences = _finite(differences, "differences", least=2)
    count, value = len(differences), float(differences.mean())
    if np.ptp(differences) < 10.0**-_DECIMALS:
        return Interval(value, value, value), None
    error = float(np.sqrt((1 / count + test_share) * differences.var(ddof=1)))
    half = error * float(stdtrit(count - 1, (1 + confidence) / 2))
    return Interval(value, value - half, value + half), 2 * float(stdtr(count - 1, -abs(value) / error))


def verdict(interval: Interval, p_adjusted: float, alpha: float) -> str:
    """Return `BETTER` or `WORSE` if p is at most `alpha` and the interval excludes 0, else `NOT_DISTINGUISHABLE`.

    Both are required: the interval contains the spread over seeds, and p the adjustment.
    """
    if p_adjusted <= alpha and interval.low > 0:
        return BETTER
    if p_adjusted <= alpha and interval.high < 0:
        return WORSE
    return NOT_DISTINGUISHABLE


def _finite(values: ArrayLike, name: str, least: int = 1) -> NDArray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 1 or len(array) < least or not np.isfinite(array).all():
        raise ValueError(f"{name} must be a row of at least {least} finite numbers, not {array!r}")
    return array


# ---------------------------------------------------------------- the design of a table


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
    """Test sets whose queries are pooled.

    Args:
        test_sets: The test sets.
        row: A row that has runs on all of them.

    Attributes:
        queries: (Q,) ids of the querying profiles.
        questions: What identifies the queries, whatever their order.
        clusters: (Q,) numbers of the connected people.
    """

    def __init__(self, test_sets: Sequence[TestSet], row: Row):
        self.test_sets = sorted(test_sets, key=lambda test_set: test_set.fold or 0)
        parts = [row.on(test_set)[0].queries(row.model) for test_set in self.test_sets]
        self.queries: list[str] = [query for part in parts for query in part.columns["query"]]
        self.questions = frozenset(question for part in parts for question in part.questions)
        self.clusters: NDArray = np.empty(0, dtype=int)
        for part in parts:
            begin = self.clusters.max(initial=-1) + 1  # nobody is in two folds
            self.clusters = np.concatenate([self.clusters, part.columns["cluster"] + begin])

    def scores(self, row: Row, metrics: Sequence[str], gallery: int | None) -> NDArray:
        """Return the scores (S, Q, M) of a row in [0, 1]; `gallery` is a common size of the galleries, if any."""
        parts = [
            np.stack([_scores(run, row.model, metrics, gallery) for run in row.on(test_set)])
            for test_set in self.test_sets
        ]
        return np.concatenate(parts, axis=1)


def design_of(test_sets: Sequence[TestSet]) -> str:
    """Return a key of METHODS."""
    if len({test_set.data for test_set in test_sets}) > 1:
        return "worlds"
    return "splits" if len({test_set.split_seed for test_set in test_sets}) > 1 else "couples"


def blocks_of(row: Row) -> list[Block]:
    """Return the test sets of a row, pooled by its design.

    Raises:
        UserError: Two splits of one dataset have the same queries, so they are not repetitions.
    """
    design, found = design_of(row.test_sets), dict[Any, list[TestSet]]()
    for test_set in row.test_sets:
        unit = test_set if design == "splits" else (test_set.data, test_set.split_seed)
        found.setdefault(unit, []).append(test_set)
    blocks = [Block(test_sets, row) for test_sets in found.values()]
    for place, block in enumerate(blocks):
        for other in blocks[:place]:
            if block.test_sets[0].data == other.test_sets[0].data and block.questions == other.questions:
                raise UserError(
                    f"{other.test_sets[0]} and {block.test_sets[0]} have the same queries: a split that comes with the "
                    "data does not change with split.seed. Report the runs of one split.seed."
                )
    return blocks


class Estimate:
    """Intervals and p values of scores (S, Q, M), one array for each block, by the design of a table.

    Args:
        design: A key of METHODS.
        blocks: Of the table.
        test_share: Test items over training items.
        options: Of the report.
    """

    def __init__(self, design: str, blocks: Sequence[Block], test_share: float, options: Options):
        self.design, self.blocks, self.test_share, self.options = design, blocks, test_share, options

    def means(self, parts: Sequence[NDArray]) -> list[Interval]:
        """Return the interval of each metric's mean."""
        if self.design == "couples":
            return seed_means(parts[0], self.blocks[0].clusters, **self._bootstrap())
        intervals = [self._t(column)[0] for column in self._by_unit(parts).T]
        return [replace(i, low=max(i.low, 0.0), high=min(i.high, 1.0)) for i in intervals]  # scores are in [0, 1]

    def exact(self, parts: Sequence[NDArray]) -> list[Interval]:
        """Return means without intervals, for chance, which is known and not measured."""
        means = parts[0].mean((0, 1)) if self.design == "couples" else self._by_unit(parts).mean(0)
        return [Interval(value, value, value) for value in means.tolist()]

    def differences(self, parts: Sequence[NDArray]) -> list[Interval]:
        """Return the interval of each metric's mean difference."""
        if self.design == "couples":
            return seed_differences(parts[0], self.blocks[0].clusters, **self._bootstrap())
        return [self._t(column)[0] for column in self._by_unit(parts).T]

    def p_value(self, parts: Sequence[NDArray]) -> float | None:
        """Return p of differences (S, Q) in one metric; None if all splits or worlds have the same difference."""
        if self.design == "couples":
            clusters = self.blocks[0].clusters
            return sign_flip(parts[0].mean(0), clusters, num_resamples=NUM_FLIPS, seed=self.options.seed)
        return self._t(self._by_unit([part[:, :, None] for part in parts])[:, 0])[1]

    def _t(self, values: NDArray) -> tuple[Interval, float | None]:
        test_share = 0.0 if self.design == "worlds" else self.test_share
        return t_test(values, confidence=self.options.confidence, test_share=test_share)

    def _by_unit(self, parts: Sequence[NDArray]) -> NDArray:
        """Return (J, M): the mean of each split, or of each dataset over its splits."""
        means = np.stack([part.mean((0, 1)) for part in parts])
        if self.design == "splits":
            return means
        data = [block.test_sets[0].data for block in self.blocks]
        return np.stack([means[[d == one for d in data]].mean(0) for one in dict.fromkeys(data)])

    def _bootstrap(self) -> dict[str, Any]:
        options = self.options
        return {"confidence": options.confidence, "num_resamples": options.num_resamples, "seed": options.seed}


def _scores(run: Run, model: str, metrics: Sequence[str], gallery: int | None) -> NDArray:
    """Return (Q, M) of one run; chance has the same expectation for every query."""
    queries = run.queries(model)
    if model == "chance":
        of = run.metrics["chance"]
        values = [_chance(metric, gallery) if gallery else of[metric]["value"] for metric in metrics]
        return np.tile(values, (len(queries.questions), 1))
    return np.stack([_score(queries, metric, gallery) for metric in metrics], axis=1)


def _score(queries: Queries, metric: str, gallery: int | None) -> NDArray:
    if gallery is None:
        return queries.score(metric)
    rank, size = queries.columns["rank"], queries.columns["gallery"]
    if metric == PRIMARY:
        return expected_reciprocal_rank(rank, size, gallery)
    return expected_recall(rank, size, gallery, int(metric.partition("@")[2]))


def _chance(metric: str, gallery: int) -> float:
    """Return the expectation with one right answer among `gallery`."""
    if metric == PRIMARY:
        return float(np.mean(1 / np.arange(1, gallery + 1)))
    return int(metric.partition("@")[2]) / gallery
