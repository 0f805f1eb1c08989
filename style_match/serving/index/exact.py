"""index=exact: all vectors, a block at a time."""

from typing import Any

import numpy as np

from style_match.serving.index.base import Held


class Exact(Held):
    """Products of all vectors with the queries; memory is that of the vectors and one block of products.

    Args:
        root: folder of all indexes; None: in the cache.
        query_block: queries that are answered together.
        row_block: vectors that they are multiplied with at once.
    """

    kind = "exact"
    is_exact = True

    def __init__(self, *, root: str | None, query_block: int, row_block: int):
        super().__init__(root=root, query_block=query_block, row_block=row_block)
        self._vectors = np.empty((0, 0), np.float32)

    @property
    def options(self) -> dict[str, Any]:
        return {"query_block": self.query_block, "row_block": self.row_block}

    @property
    def vectors(self) -> np.ndarray:
        return self._vectors

    def _set(self, vectors: np.ndarray) -> None:
        self._vectors = vectors

    def _append(self, vectors: np.ndarray) -> None:
        self._vectors = np.concatenate([self._vectors, vectors])

    def _remove(self, rows: np.ndarray) -> None:
        self._vectors = np.delete(self._vectors, rows, axis=0)
