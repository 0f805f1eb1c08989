"""Recommendations for all profiles at once, mutual ranks, and a bound on how often one profile is recommended.

Shapes: N profiles, each of which is also a user; entry (a, b) is about profile b recommended to user a.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np

from style_match.serving.index.base import Index
from style_match.serving.profiles import ProfileEmbeddings
from style_match.serving.recommend import Candidates, Query, nearest
from style_match.utils.errors import UserError

Lists: TypeAlias = list[list[int]]  # rows recommended to each user, best first
NOT_ALLOWED = np.iinfo(np.int32).max  # place of a profile that may not be recommended
PAIR_BYTES = 22  # memory of a pair: its cosine, ranks both ways, place, and whether it is allowed
DECIMALS = 12  # cosines that agree in so many decimals are equal; sums in another order differ after them
SIMILAR = "similar"


class Pairs:
    """Cosines and ranks of every pair of profiles, at most `max_pairs`, all in memory.

    Attributes:
        allowed: (N, N) bool, whether b may be recommended to a.
        paired: (N, N) bool, whether a and b could be paired, whatever the filter; symmetric.
        cosine: (N, N) float64.
        order: (N,) place of each profile in the order of ids, which breaks ties.

    Raises:
        UserError: There are more pairs than `max_pairs`.
    """

    def __init__(self, candidates: Candidates, *, max_pairs: int):
        profiles, num = candidates.profiles, len(candidates.profiles)
        if num * num > max_pairs:
            raise UserError(
                f"query=all with mode=mutual or exposure_cap holds all pairs in memory: {num} x {num} are more than "
                f"max_pairs={max_pairs} (about {num * num * PAIR_BYTES / 1e9:.1f} GB). Raise it, or drop both options."
            )
        vectors = profiles.embeddings.astype(np.float64)
        queries = [Query.of_profile(profiles, row) for row in range(num)]
        self.paired = np.stack([candidates.partners(query) for query in queries])
        self.allowed = self.paired & candidates.filtered
        for row, query in enumerate(queries):
            self.allowed[row, [profiles.row_of[one] for one in candidates.known(query)]] = False
        self.cosine = np.round(vectors @ vectors.T, DECIMALS)
        self.order = _order_of_ids(profiles)

    @cached_property
    def rank(self) -> np.ndarray:
        """(N, N) int32 from 1: the rank of b among the profiles that may be recommended to a."""
        return _ranks(self.cosine, self.allowed, self.order)

    @cached_property
    def back(self) -> np.ndarray:
        """(N, N) int32 from 1: the rank of a among the profiles that could be paired with b."""
        return _ranks(self.cosine, self.paired, self.order).T

    @cached_property
    def mutual(self) -> np.ndarray:
        """(N, N) int32 from 1: the place of b for a with mode=mutual, see `_mutual_places`."""
        users = zip(self.rank, self.back, self.cosine, self.allowed, strict=True)
        return np.stack([_mutual_places(rank, back, cosine, self.order, may) for rank, back, cosine, may in users])

    def key(self, mode: str, user: int, row: int) -> tuple[float, ...]:
        """Return a key that orders the pairs of all users, best first."""
        cosine = -float(self.cosine[user, row])
        if mode == SIMILAR:
            return (cosine,)
        one, other = int(self.rank[user, row]), int(self.back[user, row])
        return (max(one, other), one + other, cosine)


def mutual_best(query: Query, candidates: Candidates, *, k: int) -> list[tuple[str, float, int, int]]:
    """Return (profile id, cosine, its rank, rank of the query for it) of the k best with mode=mutual, best first.

    A query that is no profile of the folder is ranked as one profile more, behind profiles with an equal cosine.
    """
    profiles = candidates.profiles
    vectors, order = profiles.embeddings.astype(np.float64), _order_of_ids(profiles)
    cosine = np.round(vectors @ query.embedding.astype(np.float64), DECIMALS)
    allowed = candidates.allowed(query)
    rank = _ranks(cosine[None], allowed[None], order)[0]
    back = np.zeros(len(profiles), dtype=np.int64)
    own = order[query.row] if query.row is not None else len(profiles)
    for row in np.flatnonzero(allowed).tolist():
        rivals = candidates.partners(Query.of_profile(profiles, row))
        if query.row is not None:
            rivals[query.row] = False
        values = np.round(vectors[rivals] @ vectors[row], DECIMALS)
        ahead = (values > cosine[row]) | ((values == cosine[row]) & (order[rivals] < own))
        back[row] = 1 + int(ahead.sum())
    best = _first(_mutual_places(rank, back, cosine, order, allowed), k)
    return [(profiles.profile_ids[row], float(cosine[row]), int(rank[row]), int(back[row])) for row in best]


def _order_of_ids(profiles: ProfileEmbeddings) -> np.ndarray:
    """(N,) int32 place of each profile in the order of ids."""
    order = np.empty(len(profiles), dtype=np.int32)
    order[sorted(range(len(profiles)), key=profiles.profile_ids.__getitem__)] = np.arange(len(profiles))
    return order


def _ranks(cosine: np.ndarray, allowed: np.ndarray, order: np.ndarray) -> np.ndarray:
    """(U, N) int32 ranks from 1 in each row, best cosine first, equal ones by id; NOT_ALLOWED elsewhere."""
    return np.stack([_places(may, -values, order) for values, may in zip(cosine, allowed, strict=True)])


def _mutual_places(
    rank: np.ndarray, back: np.ndarray, cosine: np.ndarray, order: np.ndarray, allowed: np.ndarray
) -> np.ndarray:
    """(N,) int32 places of one user's candidates with mode=mutual, from 1; NOT_ALLOWED elsewhere.

    Candidates are ordered by the worse of two ranks: of the candidate among all that may be recommended to the user
    (`rank`), and of the user among all that could be paired with the candidate (`back`). Ties are broken by the sum of
    both ranks, by the cosine, and by the id.
    """
    one, other = rank.astype(np.int64), back.astype(np.int64)
    return _places(allowed, np.maximum(one, other), one + other, -cosine, order)


def _places(allowed: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """(N,) int32 places from 1 of the allowed rows by (N,) keys, the most important first; NOT_ALLOWED elsewhere."""
    places = np.full(len(allowed), NOT_ALLOWED, dtype=np.int32)
    rows = np.flatnonzero(allowed)
    places[rows[np.lexsort([key[rows] for key in reversed(keys)])]] = np.arange(1, len(rows) + 1)
    return places


def _first(places: np.ndarray, k: int) -> list[int]:
    """Return the rows of the first k places (N,)."""
    best = np.argsort(places, kind="stable")[:k]
    return best[places[best] != NOT_ALLOWED].tolist()


# Recommendations for all profiles


def recommend_to_all(
    candidates: Candidates, *, k: int, mode: str, exposure_cap: int | None, max_pairs: int, index: Index | None = None
) -> tuple[Lists, dict[str, "Spread"]]:
    """Recommend k profiles to every profile, or fewer if fewer are allowed.

    With mode=similar and without a cap they are found by the index, without holding all pairs in memory.

    Args:
        candidates: The profiles that may be recommended.
        k, mode, exposure_cap, max_pairs: As in conf/recommend.yaml.
        index: See `nearest`.

    Returns:
        The lists of all users, and the spread of these and of the lists before mode=mutual and the cap, by name.

    Raises:
        UserError: `k` is above the most profiles that may be recommended to one user, or there are more pairs than
            `max_pairs`.
    """
    profiles = candidates.profiles
    num_allowed, can_be_recommended = candidates.reach()
    if k > (most := int(num_allowed.max(initial=0))):
        is_filtered = candidates.condition is not None
        if most:
            remedy = f"at most {most} profiles can be recommended to one profile. Set k={most} or less"
            remedy += ", or widen where." if is_filtered else "."
        elif is_filtered:
            remedy = "where leaves no profile that can be recommended to another. Widen where."
        else:
            remedy = f"no two of the {len(profiles)} profiles in the folder can be recommended to each other."
        raise UserError(f"query=all, k={k}: {remedy}")
    if mode == SIMILAR and exposure_cap is None:
        queries = [Query.of_profile(profiles, row) for row in range(len(profiles))]
        answers = nearest(queries, candidates, k=k, index=index)
        lists = {SIMILAR: [[profiles.row_of[one] for one, _ in answer] for answer in answers]}
    else:
        pairs = Pairs(candidates, max_pairs=max_pairs)
        lists, places = {SIMILAR: [_first(row, k) for row in pairs.rank]}, pairs.rank
        if mode == "mutual":
            places = pairs.mutual
            lists[mode] = [_first(row, k) for row in places]
        if exposure_cap is not None:
            lists[f"{mode}, cap {exposure_cap}"] = _capped(pairs, mode, places, k=k, cap=exposure_cap)
    spreads = {name: spread(each, num_allowed > 0, can_be_recommended, k) for name, each in lists.items()}
    return list(lists.values())[-1], spreads


def _capped(pairs: Pairs, mode: str, places: np.ndarray, *, k: int, cap: int) -> Lists:
    """Return lists of k, by the places (N, N) of each user's candidates, in which no profile is more than `cap` times.

    There are k rounds; in each, every user gets at most one profile more. Pairs (user, profile) are visited from best
    to worst, and a pair is taken if the user has none of this round yet and the profile is in fewer than `cap` lists.
    So every user is offered a first profile before anybody gets a second; some users may get fewer than k.
    """
    candidates = [_first(row, len(row)) for row in places]
    lists: Lists = [[] for _ in candidates]
    left = np.full(len(candidates), cap)
    visited = [0] * len(candidates)  # of each user's candidates; a profile at its cap stays there

    def entry(user: int) -> tuple[float, ...]:
        return (*pairs.key(mode, user, candidates[user][visited[user]]), int(pairs.order[user]), user)

    for _ in range(k):
        heap = [entry(user) for user, rows in enumerate(candidates) if visited[user] < len(rows)]
        heapq.heapify(heap)
        while heap:
            user = int(heapq.heappop(heap)[-1])
            row = candidates[user][visited[user]]
            visited[user] += 1
            if left[row]:
                left[row] -= 1
                lists[user].append(row)
            elif visited[user] < len(candidates[user]):
                heapq.heappush(heap, entry(user))
    return lists


# Properties of the lists of all users


@dataclass(frozen=True)
class Spread:
    """How recommendations are spread over profiles."""

    users: int  # with at least one recommendation
    candidates: int  # profiles that can be recommended
    recommendations: int  # length of all lists together
    mutual: int  # pairs of profiles that are in each other's list
    gini: float  # of how often each candidate is recommended: 0 if all equally often, near 1 if few
    coverage: float  # share of the candidates that are in at least one list
    most: int  # how often the most frequent profile is recommended
    short: tuple[int, ...]  # users who got fewer than k, although somebody can be recommended to them


def spread(lists: Sequence[Sequence[int]], can_get: np.ndarray, candidates: np.ndarray, k: int) -> Spread:
    """Return the spread of lists; `can_get` and `candidates` are (N,) bool, who can get and who can be recommended."""
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
        short=tuple(user for user, rows in enumerate(lists) if can_get[user] and len(rows) < k),
    )


def gini(counts: np.ndarray) -> float:
    """Return the Gini coefficient of numbers >= 0: half their mean absolute difference over their mean."""
    total = counts.sum()
    if not total:
        return 0.0
    rising, num = np.sort(counts), len(counts)
    return float((2 * np.arange(1, num + 1) - num - 1) @ rising / (num * total))
