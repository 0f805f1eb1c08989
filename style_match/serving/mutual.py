"""Recommendations to all users at once: ranks of every pair, mutual ranks, and a bound on exposure."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from style_match.serving.matcher import Vectors
from style_match.serving.query import Allowed, Asked, profile
from style_match.utils.errors import UserError

# All users at once: cosines, ranks and mutual ranks of every pair that may be recommended.
#
# Shapes: N profiles, each of whom is a user too; entry (a, b) is b recommended to a.


NOT_ALLOWED = np.iinfo(np.int32).max
BYTES = 22  # of a pair: its cosine, its ranks both ways, its place, who is allowed
DECIMALS = 12  # cosines that agree so far are equal: sums in another order differ behind it


@dataclass(frozen=True, eq=False)
class Pairs:
    """Every pair of profiles.

    Attributes:
        allowed: (N, N) bool, whether b may be recommended to a.
        paired: (N, N) bool, whether they could be paired at all, `where` aside; symmetric.
        cosine: (N, N) float64.
        order: (N,) place of each profile among all ids in their order; it parts what is equal.
    """

    allowed: np.ndarray
    paired: np.ndarray
    cosine: np.ndarray
    order: np.ndarray

    @cached_property
    def rank(self) -> np.ndarray:
        """(N, N) int32 from 1: the place of b among all who may be recommended to a."""
        return _ranks(self.cosine, self.allowed, self.order)

    @cached_property
    def back(self) -> np.ndarray:
        """(N, N) int32 from 1: the place of a among all who could be paired with b."""
        return _ranks(self.cosine, self.paired, self.order).T

    def key(self, mode: str, user: int, row: int) -> tuple[float, ...]:
        """What pairs of all users are ordered by, smaller first."""
        cosine = -float(self.cosine[user, row])
        if mode == "similar":
            return (cosine,)
        one, other = int(self.rank[user, row]), int(self.back[user, row])
        return (max(one, other), one + other, cosine)

    @cached_property
    def mutual(self) -> np.ndarray:
        """(N, N) int32 from 1: the place of b for a in mode=mutual.

        Pairs are ordered by the worse of two ranks, that of b for a among all who may be recommended to a and that of a
        for b among all who could be paired with b; then by the sum of both ranks, by the cosine, and by the id.
        """
        return np.stack(
            [
                mutual_order(self.rank[user], self.back[user], self.cosine[user], self.order, self.allowed[user])
                for user in range(len(self.order))
            ]
        )


def all_pairs(profiles: Vectors, allowed: Allowed, *, max_pairs: int) -> Pairs:
    """Every pair of the profiles.

    Raises:
        UserError: more than `max_pairs`, as all of them are held in memory.
    """
    num = len(profiles)
    if num * num > max_pairs:
        raise UserError(
            f"query=all with mode=mutual or exposure_cap holds every pair in memory, {num} x {num} of them, more than "
            f"max_pairs={max_pairs} (about {num * num * BYTES / 1e9:.1f} GB): raise it, or leave both out."
        )
    vectors = profiles.embeddings.astype(np.float64)
    askers = [profile(profiles, row) for row in range(num)]
    paired = np.stack([allowed.side(asked) for asked in askers])
    order = np.empty(num, dtype=np.int32)
    order[sorted(range(num), key=lambda row: profiles.profile_ids[row])] = np.arange(num, dtype=np.int32)
    return Pairs(paired & allowed.filtered, paired, np.round(vectors @ vectors.T, DECIMALS), order)


def mutual_order(
    rank: np.ndarray, back: np.ndarray, cosine: np.ndarray, order: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """(N,) int32 places of one user's candidates in mode=mutual, see `Pairs.mutual`; NOT_ALLOWED where they are not."""
    places = np.full(len(rank), NOT_ALLOWED, dtype=np.int32)
    rows = np.flatnonzero(allowed)
    one, other = rank[rows].astype(np.int64), back[rows].astype(np.int64)
    best = np.lexsort((order[rows], -cosine[rows], one + other, np.maximum(one, other)))
    places[rows[best]] = np.arange(1, len(rows) + 1)
    return places


def _ranks(cosine: np.ndarray, allowed: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(N, N) int32 places from 1 within each row, best cosine first, equal ones by id; NOT_ALLOWED elsewhere."""
    ranks = np.full(cosine.shape, NOT_ALLOWED, dtype=np.int32)
    for user, (values, may) in enumerate(zip(cosine, allowed, strict=True)):
        rows = np.flatnonzero(may)
        ranks[user, rows[np.lexsort((order[rows], -values[rows]))]] = np.arange(1, len(rows) + 1)
    return ranks


# How often one profile is recommended when all users are served at once, and a bound on it.


Lists = list[list[int]]  # of each user, the recommended rows, best first


def top(places: np.ndarray, k: int) -> Lists:
    """Each user's first k of (N, N) places."""
    found = []
    for row in places:
        best = np.argsort(row, kind="stable")[:k]
        found.append(best[row[best] != NOT_ALLOWED].tolist())
    return found


def capped(
    places: np.ndarray, key: Callable[[int, int], tuple[float, ...]], order: np.ndarray, *, k: int, cap: int
) -> Lists:
    """Lists of k in which no profile stands more than `cap` times: k rounds, in each the best pairs first.

    In a round every user gets at most one profile more. The pairs (user, profile) are gone through from the best to the
    worst, and one is taken where the user has none of this round yet and the profile stands in fewer than `cap` lists.
    So nobody gets a second profile before everybody was offered a first one; some users may get fewer than k.

    Args:
        places: (N, N) of each user's candidates from 1, NOT_ALLOWED elsewhere.
        key: of a user and a row: what pairs are ordered by, smaller first; it rises along each user's places.
        order: (N,) of ids; it parts what is equal.
    """
    candidates = [np.argsort(row, kind="stable")[: int((row != NOT_ALLOWED).sum())].tolist() for row in places]
    lists: Lists = [[] for _ in candidates]
    left = np.full(len(order), cap)
    seen = [0] * len(candidates)  # how far each user's candidates were gone through: who was full stays full

    def entry(user: int) -> tuple[float, ...]:
        row = candidates[user][seen[user]]
        return (*key(user, row), int(order[user]), user)

    for _ in range(k):
        heap = [entry(user) for user, rows in enumerate(candidates) if seen[user] < len(rows)]
        heapq.heapify(heap)
        while heap:
            user = int(heapq.heappop(heap)[-1])
            row = candidates[user][seen[user]]
            seen[user] += 1
            if left[row]:
                left[row] -= 1
                lists[user].append(row)
            elif seen[user] < len(candidates[user]):
                heapq.heappush(heap, entry(user))
    return lists


@dataclass(frozen=True)
class Spread:
    """What lists of recommendations are like together.

    Attributes:
        users: how many were served at least one profile.
        candidates: how many could be recommended to somebody.
        recommendations: length of all lists together.
        mutual: pairs of whom each stands in the other's list.
        gini: of how often each candidate stands in a list: 0 where all do equally often, towards 1 where few do.
        coverage: share of the candidates who stand in at least one list.
        most: how often the most frequent one stands in a list.
        short: users who got fewer than k, though somebody could be recommended to them.
    """

    users: int
    candidates: int
    recommendations: int
    mutual: int
    gini: float
    coverage: float
    most: int
    short: tuple[int, ...]


def spread(lists: Sequence[Sequence[int]], could: np.ndarray, candidates: np.ndarray, k: int) -> Spread:
    """The spread of lists.

    Args:
        could: (N,) bool, users to whom somebody could be recommended.
        candidates: (N,) bool, those who could be recommended to somebody.
    """
    counts = np.bincount([row for rows in lists for row in rows], minlength=len(candidates))
    taken = {(user, row) for user, rows in enumerate(lists) for row in rows}
    return Spread(
        users=sum(bool(rows) for rows in lists),
        candidates=int(candidates.sum()),
        recommendations=len(taken),
        mutual=sum((row, user) in taken for user, row in taken) // 2,
        gini=gini(counts[candidates]),
        coverage=float((counts[candidates] > 0).mean()) if candidates.any() else 0.0,
        most=int(counts.max(initial=0)),
        short=tuple(user for user, rows in enumerate(lists) if could[user] and len(rows) < k),
    )


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of numbers of at least 0: half their mean absolute difference over their mean."""
    total = counts.sum()
    if not total:
        return 0.0
    rising, num = np.sort(counts), len(counts)
    return float((2 * np.arange(1, num + 1) - num - 1) @ rising / (num * total))


def mutual_best(asked: Asked, profiles: Vectors, allowed: Allowed, *, k: int) -> list[tuple[str, float, int, int]]:
    """The k best by both sides' ranks, best first: id, cosine, its rank for the one who asks, and the rank back.

    The order is that of `Pairs.mutual`. One who is no profile is ranked as if they were one more.
    """
    vectors, ids = profiles.embeddings.astype(np.float64), profiles.profile_ids
    cosine = np.round(vectors @ asked.embedding.astype(np.float64), DECIMALS)
    order = np.empty(len(ids), dtype=np.int64)
    order[sorted(range(len(ids)), key=lambda row: ids[row])] = np.arange(len(ids))
    may = allowed.rows(asked)
    rows = np.flatnonzero(may)
    rank = np.zeros(len(ids), dtype=np.int64)
    rank[rows[np.lexsort((order[rows], -cosine[rows]))]] = np.arange(1, len(rows) + 1)
    back = np.zeros(len(ids), dtype=np.int64)
    own = order[asked.row] if asked.row is not None else len(ids)  # a stranger stands behind those who are equal
    for row in rows.tolist():
        rivals = allowed.side(profile(profiles, row))
        if asked.row is not None:
            rivals[asked.row] = False
        values = np.round(vectors[rivals] @ vectors[row], DECIMALS)
        ahead = (values > cosine[row]) | ((values == cosine[row]) & (order[rivals] < own))
        back[row] = 1 + int(ahead.sum())
    places = mutual_order(rank, back, cosine, order, may)
    best = np.argsort(places, kind="stable")[:k].tolist()
    return [(ids[row], float(cosine[row]), int(rank[row]), int(back[row])) for row in best]
