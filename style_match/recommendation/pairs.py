"""All users at once: cosines, ranks and mutual ranks of every pair that may be recommended.

Shapes: N profiles, each of whom is a user too; entry (a, b) is b recommended to a.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from style_match.errors import UserError
from style_match.matcher.vectors import Vectors
from style_match.recommendation.allowed import Allowed
from style_match.recommendation.query import profile

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
