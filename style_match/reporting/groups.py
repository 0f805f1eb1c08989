"""Metrics by group of the querying profile (gender, band of age, any other column), and hubs among the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from style_match.evaluation.bootstrap import Interval
from style_match.reporting.statistics import seed_means
from style_match.utils.errors import UserError

# ---------------------------------------------------------------- hubs


@dataclass(frozen=True)
class Hubness:
    """How unevenly the profiles of a gallery are among the first answers.

    The k-occurrence of a profile is the number of queries that have it among their first k answers; its skewness is
    the usual measure of hubness (Radovanovic, Nanopoulos and Ivanovic 2010, "Hubs in Space", JMLR 11, equation 1).

    Attributes:
        k: Number of first answers.
        gallery: Number of profiles.
        skewness: Of the k-occurrence; 0 if all profiles occur equally often.
        never_count: Number of profiles that are never among the first answers.
        never_share: Their share.
        top: (profile id, k-occurrence) of the most frequent answers, the most frequent first.
    """

    k: int
    gallery: int
    skewness: float
    never_count: int
    never_share: float
    top: list[tuple[str, int]]


def hubness(
    answers: Mapping[str, Sequence[Sequence[str]]], galleries: Mapping[str, Sequence[str]], *, k: int, num_top: int
) -> Hubness:
    """Return the hubs among the profiles of all galleries.

    Args:
        answers: Direction to the answers of its queries, at least k each; one direction for styles.
        galleries: Direction to its profiles. A profile that is in two galleries counts as two.
        k: Number of first answers.
        num_top: Number of most frequent answers; equally frequent ones are in the order of their ids.
    """
    from scipy.stats import skew

    # of each direction, because a profile may be in two galleries
    occurring = {direction: Counter(answer for row in of for answer in row[:k]) for direction, of in answers.items()}
    counts = np.array([occurring[direction][one] for direction, ids in galleries.items() for one in ids])
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


# ---------------------------------------------------------------- groups

NONE = "(none)"  # group of profiles without a value


@dataclass(frozen=True)
class Group:
    """The metrics of one group of querying profiles.

    Attributes:
        group: Its name.
        queries: Number of queries.
        profiles: Number of distinct querying profiles.
        clusters: Number of clusters of connected people.
        suppressed: Whether it is too small to be shown.
        intervals: Metric to its mean with interval; empty if suppressed.
    """

    group: str
    queries: int
    profiles: int
    clusters: int
    suppressed: bool
    intervals: dict[str, Interval] = field(default_factory=dict)


def group_rows(
    values: Mapping[str, str | float | None],
    scores: NDArray,
    metrics: Sequence[str],
    queries: Sequence[str],
    clusters: NDArray,
    *,
    min_group: int,
    confidence: float,
    num_resamples: int,
    seed: int,
    bands: Sequence[float] | None = None,
    column: str = "column",
) -> list[Group]:
    """Return a group for each value of the querying profiles, with intervals of `seed_means`.

    Args:
        values: Profile id to its value; missing, empty and NaN values are the group "(none)", the last one.
        scores: (S, Q, M) in [0, 1]; S = 1 without seeds.
        metrics: (M,) names.
        queries: (Q,) ids of the querying profiles.
        clusters: (Q,) as in `seed_means`.
        min_group: Groups with fewer distinct profiles are suppressed.
        confidence: Of the intervals.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.
        bands: For numbers: [18, 25, 35] makes the groups "under 18", "18-24", "25-34" and "35+".
        column: Name of the values in messages.

    Raises:
        UserError: The bands do not increase, or a value is not a number.
    """
    if bands is not None and (not bands or any(low >= high for low, high in pairwise(bands))):
        raise UserError(f"bands={list(bands)} must increase, such as [18,25,35].")
    group_of = {profile: _group(values.get(profile), bands, column, profile) for profile in dict.fromkeys(queries)}
    names = _labels(bands) if bands is not None else sorted(set(group_of.values()) - {NONE})
    of_query = np.array([group_of[profile] for profile in queries])
    rows = []
    for name in [*names, NONE]:
        chosen = np.flatnonzero(of_query == name)
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
        raise UserError(f"{column} of profile {profile} is {text!r}, not a number; bands need numbers.") from error
    return _labels(bands)[int(np.searchsorted(bands, number, side="right"))]


def _labels(bands: Sequence[float]) -> list[str]:
    return [f"under {bands[0]:g}", *(_band_label(low, high) for low, high in pairwise(bands)), f"{bands[-1]:g}+"]


def _band_label(low: float, high: float) -> str:
    if not (float(low).is_integer() and float(high).is_integer()):
        return f"{low:g} to under {high:g}"
    return f"{low:g}-{high - 1:g}" if high - low > 1 else f"{low:g}"
