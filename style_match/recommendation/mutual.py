"""mode=mutual for one who asks: the worse of both sides' ranks."""

import numpy as np

from style_match.matcher.vectors import Vectors
from style_match.recommendation.allowed import Allowed
from style_match.recommendation.pairs import DECIMALS, mutual_order
from style_match.recommendation.query import Asked, profile


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
