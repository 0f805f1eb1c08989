"""The one order of answers, whichever index found them: by score, then by id.

A score is the inner product of two float32 vectors: its products are exact in float64, and they are summed there in
numpy's fixed order along a row. So it depends on the two vectors alone, not on block, BLAS or index, and equal vectors
have equal scores. An index may search in float32; what it finds is scored again here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SLACK = 8  # candidates asked for beyond k: enough, unless many are as good as the last one
ROUNDING = 2.0**-24  # of one float32 operation


@dataclass(frozen=True)
class Candidates:
    """What a search in float32 found for one query, best first: ids, scores (C,), vectors (C, E)."""

    ids: Sequence[str]
    scores: np.ndarray
    vectors: np.ndarray


def margin(dim: int) -> float:
    """How far two scores of unit rows may be from their true order when summed in float32, in any order.

    A sum of n products is off by at most n u / (1 - n u) times the lengths (Higham, "Accuracy and Stability of
    Numerical Algorithms", section 3.1); two of them by twice that. One operation more pays for lengths that are 1 only
    nearly.
    """
    share = (dim + 1) * ROUNDING
    return 2 * share / (1 - share)


def scores_of(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(C,) float64 scores of a query (E,) and rows (C, E), both float32."""
    return np.sum(rows.astype(np.float64) * query.astype(np.float64), axis=1)


def best(query: np.ndarray, found: Candidates, kept: Sequence[int], k: int) -> list[tuple[str, float]]:
    """The first k of the candidates numbered `kept`, scored anew."""
    scores = scores_of(query, found.vectors[list(kept)])
    scored = [(found.ids[i], float(score)) for i, score in zip(kept, scores, strict=True)]
    return sorted(scored, key=lambda one: (-one[1], one[0]))[:k]


def top_rows(
    queries: np.ndarray, vectors: np.ndarray, num: int, *, allowed: np.ndarray | None, row_block: int
) -> tuple[np.ndarray, np.ndarray]:
    """The `num` rows of the largest float32 products, best first, a block of rows at a time.

    Args:
        queries: (Q, E).
        vectors: (R, E).
        allowed: (A,) row numbers that may be found; None: all.
        row_block: rows of a block; memory is that of Q x row_block products (with `allowed`, of as many vectors too).
    Returns:
        scores and row numbers, both (Q, min(num, A)).
    """
    import torch

    total = len(vectors) if allowed is None else len(allowed)
    scores = torch.empty(len(queries), 0)
    rows = torch.empty(len(queries), 0, dtype=torch.long)
    products = np.empty((len(queries), min(row_block, total)), np.float32)  # one for all blocks
    for start in range(0, total, row_block):
        stop = min(start + row_block, total)
        block = vectors[start:stop] if allowed is None else vectors[allowed[start:stop]]
        # numpy, whose products are float32 whatever precision torch was told to multiply with
        out = products[:, : stop - start] if stop - start == products.shape[1] else None
        product = torch.from_numpy(np.matmul(queries, block.T, out=out))
        some, columns = product.topk(min(num, stop - start), dim=1)
        scores, rows = torch.cat([scores, some], 1), torch.cat([rows, columns + start], 1)
        scores, kept = scores.topk(min(num, scores.shape[1]), dim=1)
        rows = rows.gather(1, kept)
    found = rows.numpy()
    return scores.numpy(), found if allowed is None else allowed[found]
