"""query=all: recommendations for every profile at once, and what mode and cap do to them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from style_match.errors import UserError
from style_match.matcher.vectors import Vectors
from style_match.recommendation.allowed import Allowed
from style_match.recommendation.exposure import Lists, Spread, capped, spread, top
from style_match.recommendation.pairs import Pairs, all_pairs
from style_match.recommendation.query import profile
from style_match.recommendation.similar import best

if TYPE_CHECKING:
    from style_match.index import Index

PLAIN = "similar"


@dataclass(frozen=True)
class Served:
    """Lists of rows for every profile, and the spread of these and of others that they are compared with, by name."""

    lists: Lists
    spreads: dict[str, Spread]


def serve(
    profiles: Vectors,
    allowed: Allowed,
    *,
    k: int,
    mode: str,
    exposure_cap: int | None,
    max_pairs: int,
    index: "Index | None",
) -> Served:
    """The k best of every profile.

    Without mode=mutual and without a cap they are found by the index, without holding all pairs in memory.

    Raises:
        UserError: nobody may be recommended to anybody, k is above what anybody could get, or there are more pairs than
            `max_pairs`.
    """
    gallery, candidates = allowed.reach()
    most = int(gallery.max(initial=0))
    if k > most:
        raise UserError(f"query=all, k={k}: {_remedy(most, allowed)}.")
    found: dict[str, Lists] = {}
    if mode == "similar" and exposure_cap is None:
        askers = [profile(profiles, row) for row in range(len(profiles))]
        answers = best(askers, profiles, allowed, k=k, index=index)
        found[PLAIN] = [[profiles.row_of[one] for one, _ in answer] for answer in answers]
    else:
        found = _all_ways(all_pairs(profiles, allowed, max_pairs=max_pairs), k, mode, exposure_cap)
    spreads = {name: spread(lists, gallery > 0, candidates, k) for name, lists in found.items()}
    return Served(list(found.values())[-1], spreads)


def _remedy(most: int, allowed: Allowed) -> str:
    """What to do where nobody could get more than `most`."""
    wider = ", or widen where" if allowed.condition is not None else ""
    if most:
        return f"nobody could get more than {most} profiles; write k={most} at most{wider}"
    if wider:
        return "nobody is left who may be recommended to anybody: widen where"
    return f"no two of the {len(allowed.profiles)} profiles in the folder could be recommended to each other"


def _all_ways(pairs: Pairs, k: int, mode: str, cap: int | None) -> dict[str, Lists]:
    """Lists by likeness alone, then with mode=mutual, then with the cap, as far as they are asked for."""
    found = {PLAIN: top(pairs.rank, k)}
    places = pairs.rank
    if mode == "mutual":
        places = pairs.mutual
        found["mutual"] = top(places, k)
    if cap is not None:
        found[f"{mode}, cap {cap}"] = capped(
            places, lambda user, row: pairs.key(mode, user, row), pairs.order, k=k, cap=cap
        )
    return found


def cosines(profiles: Vectors, user: int, rows: list[int]) -> list[float]:
    """The cosine of each recommended row."""
    vectors = profiles.embeddings.astype(np.float64)
    return (vectors[rows] @ vectors[user]).tolist() if rows else []
