"""An index whose profiles are held in memory: ids, cells and vectors by row, saved as files."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from style_match.index import folder as folders
from style_match.index.base import Cells, Index, checked_profiles, columns_of, digest, each_cells
from style_match.index.ranking import Candidates, top_rows
from style_match.where import Condition, check, mask

GONE = ""  # id of a row whose profile was removed
ID, CELL = "id", "cell:"  # columns of the file of profiles


class Held(Index):
    """Rows in the order in which they came.

    Attributes:
        ids: of the rows; `GONE` where a row is only kept for others.
        columns: name -> cell of each row, empty where it has none.
    """

    def __init__(self, *, root: str | None, query_block: int, row_block: int):
        super().__init__(root=root, query_block=query_block)
        self.row_block = row_block
        self._begin([], {})

    def _begin(self, ids: Sequence[str], columns: Mapping[str, list[str]]) -> None:
        self.ids = list(ids)
        self.columns = dict(columns)
        self._refresh()

    def _refresh(self) -> None:
        """After rows came or went."""
        self.rows = {one: row for row, one in enumerate(self.ids) if one != GONE}
        self._asked: tuple[Condition, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    @abstractmethod
    def vectors(self) -> np.ndarray:
        """(R, E) float32, a row each; it may be written to, and holds until rows come or go."""

    @abstractmethod
    def _set(self, vectors: np.ndarray) -> None:
        """Hold these (R, E)."""

    @abstractmethod
    def _append(self, vectors: np.ndarray) -> None:
        """Add rows behind the last."""

    @abstractmethod
    def _remove(self, rows: np.ndarray) -> None:
        """Take out rows, those behind them move up."""

    def _described(self) -> dict[str, Any]:
        """What the manifest says besides what it says of every index."""
        return {}

    def _written(self) -> dict[str, tuple[str, Callable[[Path], None]]]:
        """Parts besides vectors and profiles, for `folder.save`."""
        return {}

    def _read(self, folder: Path, manifest: Mapping[str, Any], vectors: np.ndarray) -> None:
        """Hold what was saved."""
        self._set(vectors)

    def build(self, ids, vectors, payload, matcher, *, folder=None) -> None:
        vectors = checked_profiles(ids, vectors)
        self.matcher, self.dim = matcher, vectors.shape[1]
        self._begin(ids, _columns(each_cells(ids, payload)))
        self._set(vectors)
        if folder is not None:
            self.save(folder)

    def upsert(self, ids, vectors, payload) -> None:
        vectors = checked_profiles(ids, vectors, self.dim)
        cells = each_cells(ids, payload)
        self.delete(ids)
        came = _columns(cells)
        for name in came.keys() - self.columns.keys():
            self.columns[name] = [""] * len(self.ids)
        for name, column in self.columns.items():
            column += came.get(name, [""] * len(ids))
        self.ids += ids
        self._append(vectors)
        self._refresh()

    def delete(self, ids: Collection[str]) -> int:
        rows = np.array(sorted(self.rows[one] for one in set(ids) if one in self.rows), dtype=np.int64)
        if len(rows):
            self._delete(rows)
            self._refresh()
        return len(rows)

    def _delete(self, rows: np.ndarray) -> None:
        self._remove(rows)
        gone = set(rows.tolist())
        self.ids = [one for row, one in enumerate(self.ids) if row not in gone]
        for name, column in self.columns.items():
            self.columns[name] = [cell for row, cell in enumerate(column) if row not in gone]

    def digests(self) -> dict[str, str]:
        vectors = self.vectors
        return {one: digest(vectors[row], self._cells(row)) for one, row in self.rows.items()}

    def _cells(self, row: int) -> Cells:
        return {name: column[row] for name, column in self.columns.items()}

    def _holds(self, ids: Collection[str]) -> int:
        return sum(one in self.rows for one in ids)

    def _retrieve(self, queries: np.ndarray, num: int, where: Condition | None) -> list[Candidates]:
        scores, rows = self._top(queries, min(num, len(self.ids)), self._allowed(where))
        vectors = self.vectors
        found = []
        for some, which in zip(scores, rows, strict=True):
            which = which[which >= 0]
            ids = [self.ids[row] for row in which.tolist()]
            found.append(Candidates(ids, some[: len(which)], vectors[which]))
        return found

    def _top(self, queries: np.ndarray, num: int, allowed: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Scores and row numbers (Q, c) of the best, as `top_rows`; -1 where there is no row."""
        return top_rows(queries, self.vectors, num, allowed=allowed, row_block=self.row_block)

    def _allowed(self, where: Condition | None) -> np.ndarray | None:
        """Numbers of the rows that may be found; None: all."""
        if where is None:
            return None if len(self.rows) == len(self.ids) else np.fromiter(self.rows.values(), np.int64)
        asked = self._asked
        if asked is None or asked[0] != where:
            check(where, self.columns)
            # Few profiles differ in the columns that are asked for: each different one is judged once.
            used = columns_of(where)
            cells = list(zip(*(self.columns[name] for name in used), strict=True))
            different = list(dict.fromkeys(cells))
            holds = mask(where, [dict(zip(used, one, strict=True)) for one in different])
            judged = dict(zip(different, holds.tolist(), strict=True))
            rows = [row for row, one in enumerate(cells) if judged[one] and self.ids[row] != GONE]
            self._asked = asked = where, np.array(rows, dtype=np.int64)
        return asked[1]

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        manifest = {
            "kind": self.kind,
            "matcher": self.matcher,
            "dim": self.dim,
            "count": len(self),
            "made_by": f"{type(self).__module__}.{type(self).__qualname__}",
            "options": self.options,
            **self._described(),
        }
        vectors = np.ascontiguousarray(self.vectors)
        parts = {
            "vectors": (".safetensors", lambda path: save_file({"vectors": vectors}, path)),
            "profiles": (".parquet", self._write_profiles),
            **self._written(),
        }
        folders.save(folder, manifest, parts)

    def open(self, folder: Path, *, matcher: str | None) -> None:
        from safetensors.numpy import load_file

        manifest = folders.read_manifest(folder)
        folders.check_manifest(folder, manifest, kind=self.kind, matcher=matcher)
        vectors = load_file(folders.part(folder, manifest, "vectors"))["vectors"]
        ids, columns = _read_profiles(folders.part(folder, manifest, "profiles"))
        self.matcher, self.dim = manifest["matcher"], manifest["dim"]
        self._begin(ids, columns)
        self._read(folder, manifest, vectors)

    def _write_profiles(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        cells = {CELL + name: pa.array(column, pa.string()) for name, column in self.columns.items()}
        parquet.write_table(pa.table({ID: pa.array(self.ids, pa.string()), **cells}), path)


def _read_profiles(path: Path) -> tuple[list[str], dict[str, list[str]]]:
    from pyarrow import parquet

    table = parquet.read_table(path)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    return columns.pop(ID), {name.removeprefix(CELL): cells for name, cells in columns.items()}


def _columns(cells: Sequence[Cells]) -> dict[str, list[str]]:
    names = dict.fromkeys(name for row in cells for name in row)
    return {name: [row.get(name) or "" for row in cells] for name in names}
