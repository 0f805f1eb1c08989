"""index=faiss: FAISS, flat (exact) or a graph of near neighbours (HNSW).

J. Johnson, M. Douze, H. Jegou, "Billion-scale similarity search with GPUs", 2017; Y. Malkov, D. Yashunin, "Efficient
and robust approximate nearest neighbor search using Hierarchical Navigable Small World graphs", 2018.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from style_match.serving.index import storage
from style_match.serving.index.base import GONE, Held, top_rows
from style_match.utils.errors import UserError


def make(
    *,
    root: str | None,
    kind: str,
    query_block: int,
    row_block: int,
    m: int,
    ef_construction: int,
    ef_search: int,
    scan_share: float,
    rebuild_share: float,
    recall_k: int,
    recall_queries: int,
) -> Held:
    """The index of this kind; the options from `m` on are those of `HNSW`."""
    if kind not in ("flat", "hnsw"):
        raise UserError(f"index.kind={kind}: write flat or hnsw.")
    if kind == "flat":
        return Flat(root=root, query_block=query_block, row_block=row_block)
    return HNSW(
        root=root,
        query_block=query_block,
        row_block=row_block,
        m=m,
        ef_construction=ef_construction,
        ef_search=ef_search,
        scan_share=scan_share,
        rebuild_share=rebuild_share,
        recall_k=recall_k,
        recall_queries=recall_queries,
    )


class Flat(Held):
    """FAISS's own scan over all vectors. It needs no file besides the vectors."""

    kind = "faiss-flat"
    is_exact = True

    def __init__(self, *, root: str | None, query_block: int, row_block: int):
        super().__init__(root=root, query_block=query_block, row_block=row_block)
        self._faiss = _faiss()

    @property
    def options(self) -> dict[str, Any]:
        return {"query_block": self.query_block, "row_block": self.row_block}

    @property
    def vectors(self) -> np.ndarray:
        return _view(self._faiss, self._flat)

    def _set(self, vectors: np.ndarray) -> None:
        self._flat = self._faiss.IndexFlatIP(vectors.shape[1])
        self._flat.add(vectors)

    def _append(self, vectors: np.ndarray) -> None:
        self._flat.add(vectors)

    def _remove(self, rows: np.ndarray) -> None:
        self._flat.remove_ids(rows)

    def _top(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if not num:
            return np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
        chosen = None if allowed is None else self._faiss.SearchParameters(sel=_selector(self._faiss, self, allowed))
        return _search(self._flat, queries, num, chosen)


class HNSW(Held):
    """A graph in which a search walks from neighbour to neighbour; it misses some.

    Its recall against exact search is measured when it is built and kept as `recall`. A removed profile's row stays
    in the graph, empty, until it is built anew.

    Args:
        m: neighbours of a vector.
        ef_construction: candidates looked at for each vector that is added.
        ef_search: candidates looked at for a query; with a condition more, so that as many are allowed ones.
        scan_share: where no more than this share of the rows is allowed, these are scanned, exactly: the graph would
            lead past them.
        rebuild_share: share of empty rows at which it had better be built anew.
        recall_k, recall_queries: how the recall is measured: on this many of its own vectors.
    """

    kind = "faiss-hnsw"
    is_exact = False
    built_with = ("m", "ef_construction")

    def __init__(
        self,
        *,
        root: str | None,
        query_block: int,
        row_block: int,
        m: int,
        ef_construction: int,
        ef_search: int,
        scan_share: float,
        rebuild_share: float,
        recall_k: int,
        recall_queries: int,
    ):
        super().__init__(root=root, query_block=query_block, row_block=row_block)
        self.m = m
        self.ef_construction = ef_construction
        self.ef_search = ef_search
        self.scan_share = scan_share
        self.rebuild_share = rebuild_share
        self.recall_k = recall_k
        self.recall_queries = recall_queries
        self.recall: dict[str, Any] | None = None
        self._faiss = _faiss()

    @property
    def options(self) -> dict[str, Any]:
        names = ("query_block", "row_block", "m", "ef_construction", "ef_search", "scan_share", "rebuild_share")
        return {name: getattr(self, name) for name in (*names, "recall_k", "recall_queries")}

    @property
    def vectors(self) -> np.ndarray:
        return _view(self._faiss, self._faiss.downcast_index(self._graph.storage))

    @property
    def due(self) -> str | None:
        empty = len(self.ids) - len(self.rows)
        if not empty or empty < self.rebuild_share * len(self.ids):
            return None
        return f"{empty} of {len(self.ids)} rows are of removed profiles (index.rebuild_share={self.rebuild_share})"

    def build(self, ids, vectors, payload, matcher, *, folder=None) -> None:
        super().build(ids, vectors, payload, matcher)
        self.recall = self._measured_recall()
        if folder is not None:
            self.save(folder)

    def _measured_recall(self) -> dict[str, Any] | None:
        """Share of the true `recall_k` nearest that are found, the asking vector itself left out."""
        rows = np.unique(np.linspace(0, len(self.ids) - 1, self.recall_queries).astype(np.int64))
        k = min(self.recall_k, len(self.ids) - 1)
        if k < 1:
            return None
        queries = self.vectors[rows]
        found = self._walk(queries, k + 1, None)[1]
        true = top_rows(queries, self.vectors, k + 1, allowed=None, row_block=self.row_block)[1]
        each = list(zip(found.tolist(), true.tolist(), rows.tolist(), strict=True))
        hits = sum(len(({*some} & {*right}) - {row}) for some, right, row in each)
        return {"k": k, "queries": len(rows), "value": hits / sum(len({*right} - {row}) for _, right, row in each)}

    def _set(self, vectors: np.ndarray) -> None:
        self._graph = self._faiss.IndexHNSWFlat(vectors.shape[1], self.m, self._faiss.METRIC_INNER_PRODUCT)
        self._graph.hnsw.efConstruction = self.ef_construction
        self._graph.add(vectors)

    def _append(self, vectors: np.ndarray) -> None:
        self._graph.add(vectors)

    def _remove(self, rows: np.ndarray) -> None:
        raise NotImplementedError("rows of a graph stay")

    def _delete(self, rows: np.ndarray) -> None:
        self.vectors[rows] = 0  # nothing of a removed person stays; their neighbours' links do
        for row in rows.tolist():
            self.ids[row] = GONE
            for column in self.columns.values():
                column[row] = ""

    def _top(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        num_allowed = len(self.ids) if allowed is None else len(allowed)
        if num_allowed <= self.scan_share * len(self.ids) or num >= num_allowed:
            return super()._top(queries, num, allowed)
        scores, rows = self._walk(queries, num, allowed)
        short = np.flatnonzero((rows < 0).any(axis=1))
        if len(short):  # the walk ended before it had met enough that are allowed
            scores[short], rows[short] = super()._top(queries[short], num, allowed)
        return scores, rows

    def _walk(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        looked_at = max(self.ef_search, num)
        options: dict[str, Any] = {"efSearch": looked_at}
        if allowed is not None:
            # as many that are allowed as without a condition
            options["efSearch"] = looked_at * len(self.ids) // len(allowed)
            options["sel"] = _selector(self._faiss, self, allowed)
        return _search(self._graph, queries, num, self._faiss.SearchParametersHNSW(**options))

    def _described(self) -> dict[str, Any]:
        return {"recall": self.recall}

    def _written(self):
        flags = self._faiss.IO_FLAG_SKIP_STORAGE  # the vectors have a file of their own
        return {"graph": (".faiss", lambda path: self._faiss.write_index(self._graph, str(path), flags))}

    def _read(self, folder: Path, manifest: Mapping[str, Any], vectors: np.ndarray) -> None:
        path = storage.part(folder, manifest, "graph")
        try:
            graph = self._faiss.read_index(str(path), self._faiss.IO_FLAG_SKIP_STORAGE)
        except RuntimeError as error:
            raise storage.damaged(path, f"cannot be read by FAISS {self._faiss.__version__}") from error
        flat = self._faiss.IndexFlatIP(vectors.shape[1])
        flat.add(vectors)
        flat.this.disown()
        graph.storage, graph.own_fields = flat, True
        self._graph, self.recall = graph, manifest["recall"]


def _faiss() -> Any:
    logging.getLogger("faiss").setLevel(logging.WARNING)  # it tells which instructions of the CPU it tries
    try:
        import faiss
    except ImportError as error:
        raise UserError("index=faiss needs FAISS: pip install 'style_match[faiss]', or write index=exact.") from error
    return faiss


def _view(faiss: Any, flat: Any) -> np.ndarray:
    """FAISS's own copy of the vectors, (R, E); there is no other."""
    if not flat.ntotal:
        return np.empty((0, flat.d), np.float32)
    return faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)


def _selector(faiss: Any, index: Held, allowed: np.ndarray) -> Any:
    chosen = np.zeros(len(index.ids), dtype=bool)
    chosen[allowed] = True
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))


def _search(index: Any, queries: np.ndarray, num: int, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows (Q, num).

    Where pytorch-metric-learning is imported too, faiss.contrib.torch_utils has put its own search, which takes no
    parameters, in the place of FAISS's.
    """
    found: tuple[np.ndarray, np.ndarray] = getattr(index, "search_numpy", index.search)(queries, num, params=parameters)
    return found
