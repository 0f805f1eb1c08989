"""Scores by group of the asking profile (gender, band of age, any other column), and hubs among the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from style_match.evaluation.bootstrap import Interval
from style_match.reporting.statistics import seed_means
from style_match.utils.errors import UserError

# Hubs: profiles that are among the first answers of many queries, and those that are never among them.
#
# The k-occurrence of a profile is the number of queries that have it among their first k answers; its skewness is the
# usual measure of hubness (Radovanović, Nanopoulos and Ivanović 2010, "Hubs in Space", JMLR 11, equation 1).


Answers = Sequence[Sequence[str]]


@dataclass(frozen=True)
class Hubness:
    """Of `gallery` profiles `never_count` (a share `never_share`) are in nobody's first `k` answers.

    `top` holds the most frequent ones, (profile id, queries that have it), the most frequent first. `skewness` of the
    k-occurrence is 0 if all profiles occur equally often; the larger, the more queries share few hubs.
    """

    k: int
    gallery: int
    skewness: float
    never_count: int
    never_share: float
    top: list[tuple[str, int]]


def k_occurrence(answers: Answers, gallery_ids: Sequence[str], *, k: int) -> NDArray:
    """How often (G,) each profile of the gallery is among the first `k` of the `answers` (Q, at least k), best first.

    Raises UserError when fewer than k answers were kept, ValueError for an answer that is not in the gallery.
    """
    place = {profile: i for i, profile in enumerate(gallery_ids)}
    if len(place) != len(gallery_ids):
        raise ValueError("a profile is in the gallery twice")
    shortest = min(map(len, answers), default=k)
    if not 1 <= k <= shortest:
        raise UserError(f"the first {k} answers are asked for, but a query has {shortest}: keep more or ask for fewer")
    counts = np.zeros(len(place), dtype=int)
    for row in answers:
        for profile in row[:k]:
            if profile not in place:
                raise ValueError(f"the answer {profile} is not in the gallery")
            counts[place[profile]] += 1
    return counts


def hubness(answers: Mapping[str, Answers], galleries: Mapping[str, Sequence[str]], *, k: int, num_top: int) -> Hubness:
    """Hubs among the profiles of all galleries; `answers` and `galleries` by direction (one for styles).

    Occurrences are counted within each direction and then joined, so a profile that is in two galleries is two rows.
    Ties in `top` are in the order of the ids. Raises as `k_occurrence`.
    """
    from scipy.stats import skew

    if answers.keys() != galleries.keys():
        raise ValueError(f"answers of {sorted(answers)} with galleries of {sorted(galleries)}")
    counted = {direction: k_occurrence(answers[direction], ids, k=k) for direction, ids in galleries.items()}
    counts = np.concatenate(list(counted.values()))
    ids = [profile for gallery in galleries.values() for profile in gallery]
    never = int((counts == 0).sum())
    return Hubness(
        k=k,
        gallery=len(counts),
        skewness=float(skew(counts)) if counts.min() < counts.max() else 0.0,
        never_count=never,
        never_share=never / len(counts),
        top=sorted(zip(ids, counts.tolist(), strict=True), key=lambda row: (-row[1], row[0]))[:num_top],
    )


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
