"""index=exact: products of the queries with all vectors, in memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from style_match.serving.index.base import Cells, Index
from style_match.serving.where import Condition, matches

ROW_BLOCK = 65_536  # vectors whose products with the queries are in memory
GATHER_BLOCK = 1024  # vectors that are copied at once where a filter leaves gaps; they fit into the cache of a core


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
        scores, rows = [torch.empty(len(queries), 0)], [np.empty((len(queries), 0), np.int64)]
        for numbers, products in self._products(queries, allowed):
            best = torch.from_numpy(products).topk(min(num, len(numbers)))
            scores.append(best.values)
            rows.append(numbers[best.indices.numpy()])
        found = torch.cat(scores, dim=1)
        best = found.topk(min(num, found.shape[1]))
        return best.values.numpy(), np.take_along_axis(np.concatenate(rows, axis=1), best.indices.numpy(), axis=1)

    def _products(self, queries: np.ndarray, allowed: np.ndarray | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows (R,) of a block, and their products (Q, R) with the queries."""
        for start in range(0, len(self) if allowed is None else len(allowed), ROW_BLOCK):
            if allowed is None:
                vectors = self.vectors[start : start + ROW_BLOCK]
                yield np.arange(start, start + len(vectors)), queries @ vectors.T
                continue
            numbers = allowed[start : start + ROW_BLOCK]
            products = np.empty((len(queries), len(numbers)), np.float32)
            for first in range(0, len(numbers), GATHER_BLOCK):
                block = slice(first, first + GATHER_BLOCK)
                products[:, block] = queries @ self.vectors[numbers[block]].T
            yield numbers, products
