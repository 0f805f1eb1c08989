"""index=faiss: FAISS, flat (exact) or a graph of near neighbours (HNSW).

J. Johnson, M. Douze, H. Jegou, "Billion-scale similarity search with GPUs", 2017; Y. Malkov, D. Yashunin, "Efficient
and robust approximate nearest neighbor search using Hierarchical Navigable Small World graphs", 2018.
"""

import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from style_match.serving.index.exact import REMOVED, Exact
from style_match.utils.errors import UserError

logging.getLogger("faiss").setLevel(logging.WARNING)  # it logs which CPU instructions it tries
try:
    faiss: Any = importlib.import_module("faiss")  # its type stubs are incomplete
except ImportError as error:
    raise UserError("index=faiss needs FAISS: pip install 'style_match[faiss]', or set index=exact.") from error


def make(*, kind: str, root: str | None, query_block: int, row_block: int, **graph: Any) -> Exact:
    """The index of this kind; `graph` are options of `HNSW`."""
    if kind == "flat":
        return Flat(root=root, query_block=query_block, row_block=row_block)
    if kind == "hnsw":
        return HNSW(root=root, query_block=query_block, row_block=row_block, **graph)
    raise UserError(f"index.kind={kind}: use flat or hnsw.")


@dataclass(kw_only=True, eq=False)
class Flat(Exact):
    """FAISS's own scan over all vectors."""

    kind: ClassVar[str] = "faiss-flat"

    def _set(self, vectors: np.ndarray) -> None:
        self._flat = faiss.IndexFlatIP(vectors.shape[1])
        self._flat.add(vectors)
        self.vectors = _view(self._flat)

    def _top(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if not num:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        selector = None if allowed is None else _selector(len(self.ids), allowed)
        return _search(self._flat, queries, num, faiss.SearchParameters(sel=selector) if selector else None)


@dataclass(kw_only=True, eq=False)
class HNSW(Exact):
    """A graph in which a search walks from neighbour to neighbour; it misses some profiles.

    Its recall against exact search is measured when it is built. A removed profile's row stays in the graph, zeroed,
    until the graph is rebuilt.

    Args:
        m: neighbours of a vector.
        ef_construction: candidates examined for each added vector.
        ef_search: candidates examined for a query; with a filter more, so that as many are allowed ones.
        scan_share: up to this share of allowed rows these are scanned exactly; the graph would lead past them.
        rebuild_share: share of removed rows at which the graph is rebuilt.
        recall_k, recall_queries: the recall is measured at k on this many of the index's own vectors.
    """

    m: int
    ef_construction: int
    ef_search: int
    scan_share: float
    rebuild_share: float
    recall_k: int
    recall_queries: int

    kind: ClassVar[str] = "faiss-hnsw"
    built_with: ClassVar[tuple[str, ...]] = ("m", "ef_construction")

    @property
    def is_exact(self) -> bool:
        return False

    @property
    def rebuild_reason(self) -> str | None:
        removed = len(self.ids) - len(self)
        if not removed or removed < self.rebuild_share * len(self.ids):
            return None
        return f"{removed} of {len(self.ids)} rows were removed (index.rebuild_share={self.rebuild_share})"

    def _set(self, vectors: np.ndarray) -> None:
        self._graph = faiss.IndexHNSWFlat(vectors.shape[1], self.m, faiss.METRIC_INNER_PRODUCT)
        self._graph.hnsw.efConstruction = self.ef_construction
        self._append(vectors)
        self.recall = self._measured_recall()

    def _append(self, vectors: np.ndarray) -> None:
        self._graph.add(vectors)
        self.vectors = _view(faiss.downcast_index(self._graph.storage))

    def _remove(self, rows: np.ndarray) -> None:
        self.vectors[rows] = 0  # FAISS's own memory
        for row in rows:
            self.ids[row] = REMOVED
            for column in self.columns.values():
                column[row] = ""

    def _arrays(self) -> dict[str, np.ndarray]:
        return {"graph": faiss.serialize_index(self._graph)}

    def _load(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._graph = faiss.deserialize_index(arrays["graph"])
        self.vectors = _view(faiss.downcast_index(self._graph.storage))

    def _measured_recall(self) -> dict[str, Any] | None:
        """Share of the true `recall_k` nearest that are found, the querying vector itself left out."""
        rows = np.unique(np.linspace(0, len(self.ids) - 1, self.recall_queries).astype(np.int64))
        k = min(self.recall_k, len(self.ids) - 1)
        if k < 1:
            return None
        found = self._walk(self.vectors[rows], k + 1, None)[1]
        true = self._scan(self.vectors[rows], k + 1, None)[1]
        each = list(zip(found.tolist(), true.tolist(), rows.tolist(), strict=True))
        hits = sum(len(({*some} & {*right}) - {row}) for some, right, row in each)
        return {"k": k, "queries": len(rows), "value": hits / sum(len({*right} - {row}) for _, right, row in each)}

    def _top(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        num_allowed = len(self.ids) if allowed is None else len(allowed)
        if num_allowed <= self.scan_share * len(self.ids) or num >= num_allowed:
            return self._scan(queries, num, allowed)
        scores, rows = self._walk(queries, num, allowed)
        short = np.flatnonzero((rows < 0).any(axis=1))
        if len(short):  # the walk ended before it met enough allowed rows
            scores[short], rows[short] = self._scan(queries[short], num, allowed)
        return scores, rows

    def _walk(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        examined = max(self.ef_search, num)
        if allowed is None:
            return _search(self._graph, queries, num, faiss.SearchParametersHNSW(efSearch=examined))
        selector = _selector(len(self.ids), allowed)
        examined = examined * len(self.ids) // len(allowed)
        return _search(self._graph, queries, num, faiss.SearchParametersHNSW(efSearch=examined, sel=selector))


def _view(flat: Any) -> np.ndarray:
    """(R, E) FAISS's own memory of the vectors, valid until rows are added."""
    if not flat.ntotal:
        return np.empty((0, flat.d), np.float32)
    return faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)


def _selector(num_rows: int, allowed: np.ndarray) -> Any:
    chosen = np.zeros(num_rows, dtype=bool)
    chosen[allowed] = True
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))


def _search(index: Any, queries: np.ndarray, num: int, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows (Q, num).

    pytorch-metric-learning imports faiss.contrib.torch_utils, which replaces `search` by one without parameters.
    """
    found: tuple[np.ndarray, np.ndarray] = getattr(index, "search_numpy", index.search)(queries, num, params=parameters)
    return found
