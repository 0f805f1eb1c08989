"""How often one profile is recommended when all users are served at once, and a bound on it."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from style_match.recommendation.pairs import NOT_ALLOWED

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
