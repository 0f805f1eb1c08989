"""Intervals and p values of a table, under one of three designs that the runs' test sets tell.

- couples: one test set, or the folds of one split, whose queries are pooled: clusters of connected people;
- splits: several splits of one dataset, each fold of each a unit: the corrected resampled t-test;
- worlds: several datasets: Student's t over them, each the mean of its splits and folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from style_match.comparison import significance
from style_match.comparison.gallery import expected_recall, expected_reciprocal_rank
from style_match.comparison.match import Row
from style_match.comparison.options import PRIMARY, Options
from style_match.comparison.runs import Queries, Run, TestSet
from style_match.comparison.seeds import seed_differences, seed_means
from style_match.errors import UserError
from style_match.evaluation.intervals import Interval

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
            return significance.sign_flip(parts[0].mean(0), self.blocks[0].clusters, **flips)
        return self._t(self._by_unit([part[:, :, None] for part in parts])[:, 0])[1]

    def _t(self, values: NDArray) -> tuple[Interval, float | None]:
        if self.design == "worlds":
            return significance.paired_t(values, confidence=self.options.confidence)
        return significance.corrected_t(values, test_share=self.test_share, confidence=self.options.confidence)

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
