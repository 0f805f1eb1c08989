"""Scores by group of the asking profile: gender, band of age, region or any other column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from style_match.comparison.seeds import seed_means
from style_match.errors import UserError
from style_match.evaluation.intervals import Interval

NONE = "(none)"


@dataclass(frozen=True)
class Group:
    """One row: `queries` of `profiles` distinct people's profiles in `clusters`; `intervals` by metric.

    `suppressed` groups are too small to be shown: their intervals are empty.
    """

    group: str
    queries: int
    profiles: int
    clusters: int
    suppressed: bool
    intervals: dict[str, Interval] = field(default_factory=dict)


def group_rows(
    values: Mapping[str, str | float | None],
    scores: ArrayLike,
    metrics: Sequence[str],
    queries: Sequence[str],
    clusters: ArrayLike,
    *,
    min_group: int,
    confidence: float,
    num_resamples: int,
    seed: int,
    bands: Sequence[float] | None = None,
    column: str = "column",
) -> list[Group]:
    """A row for each value that the asking profiles have in `values` (by profile id), with intervals of `seed_means`.

    `scores` (S, Q, M) in [0, 1] (S = 1 without seeds) are named by `metrics` (M,); `queries` (Q,) are the asking
    profiles' ids, `clusters` (Q,) as in `seed_means`. With `bands=[18, 25, 35]` values are numbers and the groups
    "under 18", "18-24", "25-34" and "35+". Profiles without a value (missing, empty, NaN) are the group "(none)", the
    last. A group with fewer than `min_group` distinct profiles is suppressed. Raises UserError when bands do not rise
    or a value of `column` is no number.
    """
    scores, clusters = np.asarray(scores, dtype=float), np.asarray(clusters)
    if scores.ndim != 3 or scores.shape[1:] != (len(queries), len(metrics)) or len(clusters) != len(queries):
        raise ValueError(
            f"scores {scores.shape}: {len(queries)} queries, {len(clusters)} clusters, {len(metrics)} metrics"
        )
    if bands is not None and (not bands or any(low >= high for low, high in pairwise(bands))):
        raise UserError(f"bands={list(bands)} must rise, such as [18,25,35]")
    group_of = {profile: _group(values.get(profile), bands, column, profile) for profile in dict.fromkeys(queries)}
    names = _labels(bands) if bands is not None else sorted(set(group_of.values()) - {NONE})
    asked = np.array([group_of[profile] for profile in queries])
    rows = []
    for name in [*names, NONE]:
        chosen = np.flatnonzero(asked == name)
        if not len(chosen):
            continue
        profiles, own = len({queries[i] for i in chosen.tolist()}), clusters[chosen]
        suppressed = profiles < min_group
        intervals = {}
        if not suppressed:
            found = seed_means(scores[:, chosen], own, confidence=confidence, num_resamples=num_resamples, seed=seed)
            intervals = dict(zip(metrics, found, strict=True))
        rows.append(Group(name, len(chosen), profiles, len(np.unique(own)), suppressed, intervals))
    return rows


def _group(value: str | float | None, bands: Sequence[float] | None, column: str, profile: str) -> str:
    text = "" if value is None else str(value).strip()
    if text.lower() in ("", "nan"):
        return NONE
    if bands is None:
        return text
    try:
        number = float(text)
    except ValueError as error:
        raise UserError(f"{column} of profile {profile} is {text!r}, no number: bands need numbers") from error
    return _labels(bands)[int(np.searchsorted(bands, number, side="right"))]


def _labels(bands: Sequence[float]) -> list[str]:
    return [f"under {bands[0]:g}", *(_inner(low, high) for low, high in pairwise(bands)), f"{bands[-1]:g}+"]


def _inner(low: float, high: float) -> str:
    if not (float(low).is_integer() and float(high).is_integer()):
        return f"{low:g} to under {high:g}"
    return f"{low:g}-{high - 1:g}" if high - low > 1 else f"{low:g}"
