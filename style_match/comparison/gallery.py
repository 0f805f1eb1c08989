"""Scores in galleries of one size: what a query would score on average with fewer rivals, exactly.

A query with rank r among G candidates has r - 1 rivals ahead of it. If the true partner stays and size - 1 of the
G - 1 rivals are drawn without replacement, the number that stays ahead is hypergeometric. No gallery is drawn: the
expectation over all subsets is taken in closed form. Every query has its own subset; galleries that queries share give
the same means.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def expected_recall(ranks: ArrayLike, gallery: ArrayLike, size: int, k: int) -> NDArray:
    """Probability (Q,) that the partner is among the first `k` when each query's gallery is cut to `size`."""
    from scipy.stats import hypergeom

    ranks, gallery = _checked(ranks, gallery, size)
    expected = hypergeom.cdf(k - 1, gallery - 1, ranks - 1, size - 1)
    return np.where(gallery == size, ranks <= k, expected).clip(0, 1)


def expected_reciprocal_rank(ranks: ArrayLike, gallery: ArrayLike, size: int) -> NDArray:
    """Expectation (Q,) of 1 / rank when each query's gallery is cut to `size`.

    With X rivals left ahead, E[1 / (1 + X)] = G / (r size) (1 - C(G - r, size) / C(G, size)).
    """
    from scipy.stats import hypergeom

    ranks, gallery = _checked(ranks, gallery, size)
    expected = gallery / (ranks * size) * hypergeom.sf(0, gallery, ranks, size)
    return np.where(gallery == size, 1 / ranks, expected)


def _checked(ranks: ArrayLike, gallery: ArrayLike, size: int) -> tuple[NDArray, NDArray]:
    ranks, gallery = np.broadcast_arrays(np.asarray(ranks), np.asarray(gallery))
    if not ((ranks >= 1) & (ranks <= gallery)).all():
        raise ValueError("ranks must lie between 1 and the gallery")
    if size < 1 or (gallery < size).any():
        raise ValueError(f"a gallery of {gallery.min()} cannot be cut to {size} candidates")
    return ranks, gallery
