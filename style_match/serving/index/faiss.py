"""index=faiss: FAISS, flat (exact) or a graph of near neighbours (HNSW).

J. Johnson, M. Douze, H. Jegou, "Billion-scale similarity search with GPUs", 2017; Y. Malkov, D. Yashunin, "Efficient
and robust approximate nearest neighbor search using Hierarchical Navigable Small World graphs", 2018.
"""

import hashlib
import importlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from style_match.serving.index.base import Cells, Unusable
from style_match.serving.index.exact import Exact
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole

logging.getLogger("faiss").setLevel(logging.WARNING)  # it logs which CPU instructions it tries
try:
    faiss: Any = importlib.import_module("faiss")  # its type stubs are incomplete
except ImportError as error:
    raise UserError("index=faiss needs FAISS: pip install 'style_match[faiss]', or set index=exact.") from error

SCAN_SHARE = 0.02  # up to this share of allowed profiles they are searched exactly; a walk would lead past them
REBUILD_SHARE = 0.1  # share of removed rows at which the graph is rebuilt
RECALL_K, RECALL_QUERIES = 10, 200  # the recall is measured at k on so many of the index's own vectors
GRAPH = "graph.safetensors"
KEY_BYTES = 16
REMOVED = bytes(KEY_BYTES)  # key of a graph row whose profile was removed


def make(*, kind: str, root: str | None, **graph: int) -> Exact:
    """Return the index of a kind: `flat`, or `hnsw` with the options of `HNSW`."""
    return Flat() if kind == "flat" else HNSW(root=root, **graph)


class Flat(Exact):
    """Exact search by FAISS over all vectors, in memory."""

    kind: ClassVar[str] = "faiss-flat"

    def _build(self, cells: Sequence[Cells], folder: Path | None) -> str:
        self._flat = faiss.IndexFlatIP(self.vectors.shape[1])
        self._flat.add(self.vectors)
        self.vectors = _memory(self._flat)  # instead of a second copy
        return "built"

    def _nearest(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        if not len(self):
            return super()._nearest(queries, num, allowed)
        parameters = None if allowed is None else faiss.SearchParameters(sel=_selector(_mask(len(self), allowed)))
        return _search(self._flat, queries, min(num, len(self)), parameters)


class HNSW(Exact):
    """A graph in which a search walks from neighbour to neighbour; it misses some profiles.

    The recall against exact search is measured when the graph is built. A stored graph is updated: new profiles are
    added; the rows of removed ones are zeroed and never found, and when they are too many, the graph is rebuilt.

    Args:
        root: Folder of all stored indexes; None: `indexes/` in the cache root.
        m: Neighbours of a vector.
        ef_construction: Candidates examined for each added vector.
        ef_search: Candidates examined for a query; proportionally more with a filter.
    """

    kind: ClassVar[str] = "faiss-hnsw"
    is_stored: ClassVar[bool] = True

    def __init__(self, *, root: str | None, m: int, ef_construction: int, ef_search: int):
        super().__init__()
        self.is_exact = False
        self.root, self.m, self.ef_construction, self.ef_search = root, m, ef_construction, ef_search

    def _build(self, cells: Sequence[Cells], folder: Path | None) -> str:
        keys = [_key(one, vector) for one, vector in zip(self.ids, self.vectors, strict=True)]
        try:
            stored = None if folder is None else self._load(folder / GRAPH)
            done, row_keys = ("built", keys) if stored is None else self._update(keys, *stored)
        except Unusable as error:
            done, row_keys = f"rebuilt: {error}", keys
        is_new = done.startswith(("built", "rebuilt"))
        if is_new:
            self._graph = faiss.IndexHNSWFlat(self.vectors.shape[1], self.m, faiss.METRIC_INNER_PRODUCT)
            self._graph.hnsw.efConstruction = self.ef_construction
            self._graph.add(self.vectors)
        number_of = {key: number for number, key in enumerate(keys)}
        self._profiles = np.array([number_of.get(key, -1) for key in row_keys], np.int64)  # of the rows of the graph
        if is_new:
            self.recall = self._measured_recall()
        if folder is not None and done != "up to date":
            self._save(folder / GRAPH, row_keys)
        return done

    @property
    def _identity(self) -> dict[str, Any]:
        """Properties that a stored graph must share with this index."""
        return {"matcher": self.matcher, "m": self.m, "ef_construction": self.ef_construction}

    def _save(self, path: Path, row_keys: list[bytes]) -> None:
        arrays = {"graph": faiss.serialize_index(self._graph), "keys": np.frombuffer(b"".join(row_keys), np.uint8)}
        about = json.dumps({**self._identity, "recall": self.recall})
        content = save(arrays, {"about": about, "digest": _digest(arrays, about)})
        write_whole(path, content, remedy="Free some space or choose another folder with index.root=FOLDER.")

    def _load(self, path: Path) -> tuple[Any, list[bytes]] | None:
        """The stored graph and the keys of its rows; None if there is none.

        Raises:
            Unusable: It is damaged, or was built with other options.
        """
        if not path.is_file():
            return None
        try:
            with safe_open(path, "np") as file:
                header = file.metadata()
                arrays = {name: file.get_tensor(name) for name in ("graph", "keys")}
            if header["digest"] != _digest(arrays, header["about"]):
                raise Unusable(f"{path} is damaged")
            about = json.loads(header["about"])
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise Unusable(f"{path} is damaged") from error
        for name, value in self._identity.items():
            if about.get(name) != value:
                raise Unusable(f"{name} was {about.get(name)}, not {value}")
        self.recall = about["recall"]
        content = arrays["keys"].tobytes()
        keys = [content[start : start + KEY_BYTES] for start in range(0, len(content), KEY_BYTES)]
        return faiss.deserialize_index(arrays["graph"]), keys

    def _update(self, keys: list[bytes], graph: Any, row_keys: list[bytes]) -> tuple[str, list[bytes]]:
        """Change a graph so that it holds these profiles; return what was done and the keys of its rows.

        Raises:
            Unusable: Too many rows were removed.
        """
        wanted, stored = set(keys), set(row_keys)
        removed = [row for row, key in enumerate(row_keys) if key not in wanted and key != REMOVED]
        num_removed = len(removed) + row_keys.count(REMOVED)
        if num_removed and num_removed >= REBUILD_SHARE * len(row_keys):
            raise Unusable(f"{num_removed} of {len(row_keys)} rows were removed")
        new = [number for number, key in enumerate(keys) if key not in stored]
        self._graph = graph
        if removed:
            _memory(faiss.downcast_index(graph.storage))[removed] = 0
        if new:
            graph.add(self.vectors[new])
        gone = set(removed)
        row_keys = [REMOVED if row in gone else key for row, key in enumerate(row_keys)]
        done = f"{len(new)} added, {len(removed)} removed" if new or removed else "up to date"
        return done, row_keys + [keys[number] for number in new]

    def _measured_recall(self) -> dict[str, Any] | None:
        """Share of the true nearest that are found; the querying vector itself does not count."""
        numbers = np.unique(np.linspace(0, len(self) - 1, RECALL_QUERIES).astype(np.int64))
        k = min(RECALL_K, len(self) - 1)
        if k < 1:
            return None
        found = self._walk(self.vectors[numbers], k + 1, None)[1]
        true = super()._nearest(self.vectors[numbers], k + 1, None)[1]
        each = list(zip(found.tolist(), true.tolist(), numbers.tolist(), strict=True))
        hits = sum(len(({*some} & {*right}) - {number}) for some, right, number in each)
        num_true = sum(len({*right} - {number}) for _, right, number in each)
        return {"k": k, "queries": len(numbers), "value": hits / num_true}

    def _nearest(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        num_allowed = len(self) if allowed is None else len(allowed)
        if num_allowed <= max(num, SCAN_SHARE * len(self)):
            return super()._nearest(queries, num, allowed)
        scores, numbers = self._walk(queries, num, allowed)
        short = np.flatnonzero((numbers < 0).any(axis=1))
        if len(short):  # the walk ended before it met enough allowed rows
            scores[short], numbers[short] = super()._nearest(queries[short], num, allowed)
        return scores, numbers

    def _walk(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Scores and profile numbers (Q, num) by the graph."""
        examined = max(self.ef_search, num)
        rows = self._profiles >= 0
        if allowed is not None:
            rows &= _mask(len(self), allowed)[self._profiles]
        if rows.all():
            parameters = faiss.SearchParametersHNSW(efSearch=examined)
        else:
            examined = examined * len(rows) // int(rows.sum())
            parameters = faiss.SearchParametersHNSW(efSearch=examined, sel=_selector(rows))
        scores, found = _search(self._graph, queries, num, parameters)
        return scores, np.where(found >= 0, self._profiles[found], -1)


def _key(profile_id: str, vector: np.ndarray) -> bytes:
    """Digest of a profile's id and vector."""
    digest = hashlib.blake2b(vector.tobytes(), digest_size=KEY_BYTES)
    digest.update(profile_id.encode("utf-8", "surrogatepass"))
    return digest.digest()


def _digest(arrays: dict[str, np.ndarray], about: str) -> str:
    found = hashlib.blake2b(about.encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.data)
    return found.hexdigest()


def _memory(flat: Any) -> np.ndarray:
    """(R, E) FAISS's own memory of the vectors, valid until rows are added."""
    if not flat.ntotal:
        return np.empty((0, flat.d), np.float32)
    return faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)


def _mask(num: int, allowed: np.ndarray) -> np.ndarray:
    """(num,) bool, True at the `allowed` numbers."""
    mask = np.zeros(num, dtype=bool)
    mask[allowed] = True
    return mask


def _selector(rows: np.ndarray) -> Any:
    return faiss.IDSelectorBitmap(np.packbits(rows, bitorder="little"))


def _search(index: Any, queries: np.ndarray, num: int, parameters: Any) -> tuple[np.ndarray, np.ndarray]:
    """Scores and rows (Q, num).

    pytorch-metric-learning imports faiss.contrib.torch_utils, which replaces `search` by one without parameters.
    """
    found: tuple[np.ndarray, np.ndarray] = getattr(index, "search_numpy", index.search)(queries, num, params=parameters)
    return found
