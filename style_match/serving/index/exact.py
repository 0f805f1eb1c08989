"""index=exact: products of the queries with all vectors, in memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from style_match.serving.index.base import Cells, Index
from style_match.serving.where import Condition, matches

ROW_BLOCK = 65_536  # vectors whose products with the queries are in memory


class Exact(Index):
    """Exact search over all vectors."""

    kind: ClassVar[str] = "exact"

    def _build(self, cells: Sequence[Cells], folder: Path | None) -> str:
        return "built"

    def _filter(self, where: Condition) -> np.ndarray:
        """(A,) rows that a filter allows."""
        return np.flatnonzero(matches(where, self.columns))

    def _nearest(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        scores, rows = [torch.empty(len(queries), 0)], [np.empty((len(queries), 0), np.int64)]
        for start in range(0, len(self) if allowed is None else len(allowed), ROW_BLOCK):
            block = slice(start, start + ROW_BLOCK)
            vectors = self.vectors[block if allowed is None else allowed[block]]
            best = torch.from_numpy(queries @ vectors.T).topk(min(num, len(vectors)))
            numbers = best.indices.numpy() + start
            scores.append(best.values)
            rows.append(numbers if allowed is None else allowed[numbers])
        best = torch.cat(scores, dim=1).topk(min(num, sum(each.shape[1] for each in rows)))
        return best.values.numpy(), np.take_along_axis(np.concatenate(rows, axis=1), best.indices.numpy(), axis=1)
