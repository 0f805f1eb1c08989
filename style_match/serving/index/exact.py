"""index=exact: a scan of all vectors with numpy. FAISS's indexes share its ids, columns and files."""

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from style_match.serving.index import storage
from style_match.serving.index.base import Candidates, Cells, Index, cells_of, checked_profiles, digest
from style_match.serving.where import Condition, matches

REMOVED = ""  # id of a row that only a graph still needs
ID, CELL = "id", "cell:"  # columns of the stored table of profiles


@dataclass(kw_only=True, eq=False)
class Exact(Index):
    """Products of the queries with all vectors, `row_block` rows at a time.

    Attributes:
        ids: of the rows, or `REMOVED`.
        columns: name -> cell of each row; empty cells are unknown.
        vectors: (R, E) float32.
    """

    row_block: int

    kind: ClassVar[str] = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.ids: list[str] = []
        self.columns: dict[str, list[str]] = {}
        self.vectors = np.empty((0, 0), np.float32)

    @property
    def is_exact(self) -> bool:
        return True

    def __len__(self) -> int:
        return len(self._row_of)

    def build(self, ids, vectors, payload, matcher, *, folder=None) -> None:
        vectors = checked_profiles(ids, vectors)
        self.matcher, self.dim = matcher, vectors.shape[1]
        self.ids, self.columns = list(ids), _columns(cells_of(ids, payload))
        self._set(vectors)
        self._refresh()
        if folder is not None:
            self.save(folder)

    def upsert(self, ids, vectors, payload) -> None:
        vectors = checked_profiles(ids, vectors, self.dim)
        added = _columns(cells_of(ids, payload))
        self.delete(ids)
        for name in {**self.columns, **added}:
            column = self.columns.setdefault(name, [""] * len(self.ids))
            column += added.get(name, [""] * len(ids))
        self.ids += ids
        self._append(vectors)
        self._refresh()

    def delete(self, ids: Collection[str]) -> int:
        rows = np.array(sorted(self._row_of[one] for one in set(ids) if one in self._row_of), dtype=np.int64)
        if len(rows):
            self._remove(rows)
            self._refresh()
        return len(rows)

    def digests(self) -> dict[str, str]:
        return {
            one: digest(self.vectors[row], {name: column[row] for name, column in self.columns.items()})
            for one, row in self._row_of.items()
        }

    def save(self, folder: Path) -> None:
        arrays = {"profiles": self._table(), **self._arrays()}
        storage.save(folder, self._manifest(), arrays)

    def open(self, folder: Path, *, matcher: str | None) -> None:
        manifest = self._read_manifest(folder, matcher)
        arrays = storage.load(folder, manifest)
        self.matcher, self.recall = manifest.matcher, manifest.recall
        self.ids, self.columns = _read_table(arrays["profiles"])
        self._load(arrays)
        self.dim = self.vectors.shape[1]
        self._refresh()

    def _refresh(self) -> None:
        """Call after rows were added or removed."""
        self._row_of = {one: row for row, one in enumerate(self.ids) if one != REMOVED}
        self._last_filter: tuple[Condition, np.ndarray] | None = None

    def _set(self, vectors: np.ndarray) -> None:
        """Replace all vectors."""
        self.vectors = vectors

    def _append(self, vectors: np.ndarray) -> None:
        self._set(np.concatenate([self.vectors, vectors]))

    def _remove(self, rows: np.ndarray) -> None:
        kept = np.delete(np.arange(len(self.ids)), rows)
        self.ids = [self.ids[row] for row in kept]
        self.columns = {name: [column[row] for row in kept] for name, column in self.columns.items()}
        self._set(self.vectors[kept])

    def _arrays(self) -> dict[str, np.ndarray]:
        """What is stored besides the profiles; see `_load`."""
        return {"vectors": np.ascontiguousarray(self.vectors)}

    def _load(self, arrays: Mapping[str, np.ndarray]) -> None:
        self._set(arrays["vectors"])

    def _nearest(self, queries: np.ndarray, num: int, where: Condition | None) -> list[Candidates]:
        scores, rows = self._top(queries, min(num, len(self.ids)), self._allowed(where))
        found = []
        for some, which in zip(scores, rows, strict=True):
            which = which[which >= 0]
            found.append(Candidates([self.ids[row] for row in which], some[: len(which)], self.vectors[which]))
        return found

    def _allowed(self, where: Condition | None) -> np.ndarray | None:
        """(A,) numbers of the rows that may be found; None: all."""
        if where is None:
            return None if len(self) == len(self.ids) else np.fromiter(self._row_of.values(), np.int64)
        last = self._last_filter
        if last is None or last[0] != where:
            holds = matches(where, self.columns) & (np.array(self.ids, dtype=object) != REMOVED)
            self._last_filter = last = where, np.flatnonzero(holds)
        return last[1]

    def _top(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Scores and row numbers (Q, C) of the `num` best, best first; -1 where there is no row."""
        return self._scan(queries, num, allowed)

    def _scan(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        scores = np.empty((len(queries), 0), np.float32)
        rows = np.empty((len(queries), 0), np.int64)
        for start in range(0, len(self.ids) if allowed is None else len(allowed), self.row_block):
            stop = start + self.row_block
            vectors = self.vectors[start:stop] if allowed is None else self.vectors[allowed[start:stop]]
            numbers = np.arange(start, start + len(vectors)) if allowed is None else allowed[start:stop]
            products = queries @ vectors.T
            columns = _largest(products, num)
            scores = np.concatenate([scores, np.take_along_axis(products, columns, 1)], 1)
            rows = np.concatenate([rows, numbers[columns]], 1)
            best = _largest(scores, num)
            scores, rows = np.take_along_axis(scores, best, 1), np.take_along_axis(rows, best, 1)
        order = np.argsort(-scores, axis=1, kind="stable")
        return np.take_along_axis(scores, order, 1), np.take_along_axis(rows, order, 1)

    def _table(self) -> np.ndarray:
        """Ids and columns as the bytes of a Parquet file."""
        import pyarrow as pa
        from pyarrow import parquet

        cells = {CELL + name: pa.array(column, pa.string()) for name, column in self.columns.items()}
        content = io.BytesIO()
        parquet.write_table(pa.table({ID: pa.array(self.ids, pa.string()), **cells}), content)
        return np.frombuffer(content.getvalue(), np.uint8)


def _read_table(content: np.ndarray) -> tuple[list[str], dict[str, list[str]]]:
    from pyarrow import parquet

    columns = parquet.read_table(io.BytesIO(content.tobytes())).to_pydict()
    return columns.pop(ID), {name.removeprefix(CELL): cells for name, cells in columns.items()}


def _columns(cells: Sequence[Cells]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for row in cells for name in row)
    return {name: [row.get(name) or "" for row in cells] for name in names}


def _largest(scores: np.ndarray, num: int) -> np.ndarray:
    """(Q, min(num, C)) columns of the largest scores (Q, C) of each row, in any order."""
    if num >= scores.shape[1]:
        return np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    return np.argpartition(scores, scores.shape[1] - num, axis=1)[:, scores.shape[1] - num :]
