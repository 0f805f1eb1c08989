"""What every index does: keeps unit vectors by profile id, and gives the k nearest that are allowed."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from style_match.errors import UserError
from style_match.index.ranking import SLACK, Candidates, best, margin
from style_match.where import And, Condition, Not, Or

Answers = list[tuple[str, float]]
Cells = Mapping[str, str]
UNIT = 1e-3  # how far from 1 a vector's length may be
WIDER = 4  # times as many candidates where too many were as good as the last one


class Unreadable(UserError):
    """It is damaged, or was written by another version."""


class NoIndex(UserError):
    """There is none yet where one was to be opened."""


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
        root: folder of all indexes, see `style_match.index.opening`.
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
