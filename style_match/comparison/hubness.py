"""Hubs: profiles that are among the first answers of many queries, and those that are never among them.

The k-occurrence of a profile is the number of queries that have it among their first k answers; its skewness is the
usual measure of hubness (Radovanović, Nanopoulos and Ivanović 2010, "Hubs in Space", JMLR 11, equation 1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from style_match.errors import UserError

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
