"""index=exact: products of the queries with all vectors, in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from style_match.serving.index.base import Cells, Index
from style_match.serving.where import Condition, matches

ROW_BLOCK = 65_536  # vectors that are multiplied at once


class Exact(Index):
    """Exact search over all vectors."""

    kind: ClassVar[str] = "exact"

    def _build(self, cells: Sequence[Cells], folder: Path | None) -> str:
        self._last_filter: tuple[Condition, np.ndarray] | None = None
        return "built"

    def _nearest(self, queries: np.ndarray, num: int, where: Condition | None) -> tuple[np.ndarray, np.ndarray]:
        return self._top(queries, num, None if where is None else self._allowed(where))

    def _allowed(self, where: Condition) -> np.ndarray:
        """(A,) rows that a filter allows; the last filter is remembered."""
        last = self._last_filter
        if last is None or last[0] != where:
            self._last_filter = last = where, np.flatnonzero(matches(where, self.columns))
        return last[1]

    def _top(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """See `_nearest`; `allowed` (A,) are the rows to search, None means all."""
        scores = np.empty((len(queries), 0), np.float32)
        rows = np.empty((len(queries), 0), np.int64)
        for start in range(0, len(self) if allowed is None else len(allowed), ROW_BLOCK):
            block = slice(start, start + ROW_BLOCK)
            vectors = self.vectors[block] if allowed is None else self.vectors[allowed[block]]
            numbers = np.arange(start, start + len(vectors)) if allowed is None else allowed[block]
            products = queries @ vectors.T
            columns = _largest(products, num)
            scores = np.concatenate([scores, np.take_along_axis(products, columns, 1)], 1)
            rows = np.concatenate([rows, numbers[columns]], 1)
        best = _largest(scores, num)
        scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
        order = np.argsort(-scores, axis=1)
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)


def _largest(scores: np.ndarray, num: int) -> np.ndarray:
    """(Q, min(num, C)) columns of the largest scores (Q, C) of each row, in any order."""
    if num >= scores.shape[1]:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(scores, scores.shape[1] - num, axis=1)[:, scores.shape[1] - num :]
