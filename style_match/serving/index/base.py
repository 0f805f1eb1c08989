"""An index whose profiles are held in memory: ids, cells and vectors by row, saved as files."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from style_match.serving.index import storage
from style_match.serving.where import And, Condition, Not, Or, check, mask
from style_match.utils.errors import UserError

# The one order of answers, whichever index found them: by score, then by id.
#
# A score is the inner product of two float32 vectors: its products are exact in float64, and they are summed there in
# numpy's fixed order along a row. So it depends on the two vectors alone, not on block, BLAS or index, and equal
# vectors have equal scores. An index may search in float32; what it finds is scored again here.


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


# What every index does: keeps unit vectors by profile id, and gives the k nearest that are allowed.


Answers = list[tuple[str, float]]
Cells = Mapping[str, str]
UNIT = 1e-3  # how far from 1 a vector's length may be
WIDER = 4  # times as many candidates where too many were as good as the last one


@dataclass(frozen=True)
class Changes:
    """Profiles that were added, replaced and removed."""

    added: int
    replaced: int
    removed: int

    def __bool__(self) -> bool:
        return bool(self.added or self.replaced or self.removed)

    def __str__(self) -> str:
        return f"{self.added} added, {self.replaced} replaced, {self.removed} removed"


class Index(ABC):
    """Nearest profiles by inner product of unit vectors.

    An index is made from `conf/index/NAME.yaml`, then built or opened. Several threads may search at once; adding and
    deleting is for one.

    Attributes:
        kind: what it is called in its folder's manifest.
        is_exact: whether its answers are those of a search over all vectors.
        root: folder of all indexes, see `style_match.serving.index.folder`.
        matcher: identity of the matcher that made the vectors.
        dim: their width E.
    """

    kind: str
    is_exact: bool
    built_with: tuple[str, ...] = ()  # options that it must be built anew for

    def __init__(self, *, root: str | None, query_block: int):
        self.root = root
        self.query_block = query_block
        self.matcher = ""
        self.dim = 0

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """What its constructor was given, as plain values; no secret."""

    @abstractmethod
    def build(
        self,
        ids: Sequence[str],
        vectors: np.ndarray,
        payload: Sequence[Cells] | None,
        matcher: str,
        *,
        folder: Path | None = None,
    ) -> None:
        """Hold these profiles and no others.

        Args:
            ids: of N profiles, all different.
            vectors: (N, E) float32 unit rows.
            payload: column -> cell of each profile, for `where`; None: no columns.
            matcher: identity of the matcher that made the vectors.
            folder: where it is kept from the start; None: until `save`, nowhere but in memory.
        """

    @abstractmethod
    def upsert(self, ids: Sequence[str], vectors: np.ndarray, payload: Sequence[Cells] | None) -> None:
        """Add profiles, in place of those that have the same ids."""

    @abstractmethod
    def delete(self, ids: Collection[str]) -> int:
        """Remove profiles, nothing of them stays; returns how many there were."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write what a later `open(folder)` needs; a killed process leaves the state before or the one after."""

    @abstractmethod
    def open(self, folder: Path, *, matcher: str | None) -> None:
        """Become what was saved; with None, whichever matcher it is of.

        Raises:
            NoIndex: nothing was saved there.
            UserError: it is of another matcher, of a newer format, of another kind, or damaged.
        """

    @abstractmethod
    def digests(self) -> dict[str, str]:
        """Profile id -> `digest` of what is held of it."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of profiles."""

    @abstractmethod
    def _holds(self, ids: Collection[str]) -> int:
        """How many of these there may be at most."""

    @abstractmethod
    def _retrieve(self, queries: np.ndarray, num: int, where: Condition | None) -> list[Candidates]:
        """At least the `num` nearest that `where` allows, for each query; fewer only where there are no more."""

    def close(self) -> None:  # noqa: B027  # most have nothing to let go
        """Let go of files and connections."""

    @property
    def place(self) -> str:
        """Name of its folder beside those of other kinds."""
        return self.kind

    @property
    def due(self) -> str | None:
        """Why it had better be built anew."""
        return None

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        where: Condition | None = None,
        exclude: Sequence[Collection[str]] | None = None,
    ) -> list[Answers]:
        """The k nearest (id, score) of each query, best first, equal scores in the order of ids.

        Args:
            queries: (Q, E) float32 unit rows.
            k: how many; fewer come only where fewer are allowed.
            where: which profiles may be found at all.
            exclude: for each query, ids that may not be found.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        queries = unit_rows(queries, self.dim)
        excluded = [frozenset(ids) for ids in exclude] if exclude is not None else [frozenset()] * len(queries)
        answers: list[Answers] = []
        for start in range(0, len(queries), self.query_block):
            block = slice(start, start + self.query_block)
            answers += self._search_block(queries[block], k, where, excluded[block])
        return answers

    def _search_block(
        self, queries: np.ndarray, k: int, where: Condition | None, excluded: Sequence[Collection[str]]
    ) -> list[Answers]:
        answers: list[Answers] = [[] for _ in queries]
        num = k + SLACK + max((self._holds(ids) for ids in excluded), default=0)
        missing = list(range(len(queries)))
        while missing:
            again = []
            for query, found in zip(missing, self._retrieve(queries[missing], num, where), strict=True):
                kept = [i for i, one in enumerate(found.ids) if one not in excluded[query]]
                if self._suffices(found, kept, k, num):
                    answers[query] = best(queries[query], found, kept, k)
                else:
                    again.append(query)
            missing, num = again, WIDER * num
        return answers

    def _suffices(self, found: Candidates, kept: Sequence[int], k: int, num: int) -> bool:
        """Whether nobody who was not found can be among the first k."""
        if len(found.ids) < num:
            return True
        # at least k are kept: `num` counts those who are excluded on top
        return not self.is_exact or found.scores[-1] < found.scores[kept[k - 1]] - margin(self.dim)

    def bring_up_to_date(self, ids: Sequence[str], vectors: np.ndarray, payload: Sequence[Cells] | None) -> Changes:
        """Hold these profiles and no others, touching only those that differ."""
        held = self.digests()
        cells = each_cells(ids, payload)
        given = {one: digest(vector, own) for one, vector, own in zip(ids, vectors, cells, strict=True)}
        removed = held.keys() - given.keys()
        chosen = [i for i, one in enumerate(ids) if held.get(one) != given[one]]
        if removed:
            self.delete(removed)
        if chosen:
            some = [payload[i] for i in chosen] if payload is not None else None
            self.upsert([ids[i] for i in chosen], vectors[chosen], some)
        added = sum(ids[i] not in held for i in chosen)
        return Changes(added, len(chosen) - added, len(removed))


def each_cells(ids: Sequence[str], payload: Sequence[Cells] | None) -> Sequence[Cells]:
    """The cells of each profile."""
    if payload is not None and len(payload) != len(ids):
        raise ValueError(f"{len(ids)} ids, but the payload of {len(payload)}")
    return payload if payload is not None else [{}] * len(ids)


def digest(vector: np.ndarray, cells: Cells) -> str:
    """Of a vector's bytes and the cells that are not empty."""
    filled = sorted((name, cell) for name, cell in cells.items() if cell)
    told = hashlib.blake2b(np.ascontiguousarray(vector, np.float32).tobytes(), digest_size=16)
    told.update(json.dumps(filled).encode())
    return told.hexdigest()


def unit_rows(rows: np.ndarray, dim: int | None = None) -> np.ndarray:
    """(N, E) float32, one after the other in memory.

    Raises:
        UserError: values that are not finite.
        ValueError: rows of another width or length.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if rows.ndim != 2 or (dim is not None and rows.shape[1] != dim):
        raise ValueError(f"rows of width {dim} are wanted, not of shape {rows.shape}")
    lengths = np.concatenate([np.linalg.norm(some, axis=1) for some in blocks(rows, 1 << 16)] or [np.ones(0)])
    broken = int((~np.isfinite(lengths)).sum())
    if broken:
        raise UserError(f"{broken} of {len(rows)} vectors hold values that are not finite numbers: they have no order.")
    if len(lengths) and np.abs(lengths - 1).max() > UNIT:
        raise ValueError(f"rows must have unit length, not {lengths.min():.4g} to {lengths.max():.4g}")
    return rows


def checked_profiles(ids: Sequence[str], vectors: np.ndarray, dim: int | None = None) -> np.ndarray:
    """The vectors as `unit_rows`, of as many profiles as there are ids.

    Raises:
        ValueError: an id stands twice or is empty, or there is not a vector for each.
    """
    vectors = unit_rows(vectors, dim)
    if len(ids) != len(vectors) or len(set(ids)) != len(ids) or "" in ids:
        raise ValueError(f"{len(vectors)} vectors want as many different ids, not {len(set(ids))} of {len(ids)}")
    return vectors


def blocks(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def columns_of(condition: Condition) -> list[str]:
    """The columns that a condition asks for, each once."""
    if isinstance(condition, Not):
        return columns_of(condition.part)
    if isinstance(condition, And | Or):
        return list(dict.fromkeys(name for part in condition.parts for name in columns_of(part)))
    return [condition.column]


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
        """Parts besides vectors and profiles, for `storage.save`."""
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
        storage.save(folder, manifest, parts)

    def open(self, folder: Path, *, matcher: str | None) -> None:
        from safetensors.numpy import load_file

        manifest = storage.read_manifest(folder)
        storage.check_manifest(folder, manifest, kind=self.kind, matcher=matcher)
        vectors = load_file(storage.part(folder, manifest, "vectors"))["vectors"]
        ids, columns = _read_profiles(storage.part(folder, manifest, "profiles"))
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
