"""What every index does: hold unit vectors by profile id and return the k nearest that a filter allows.

There is one order of answers, whichever index found them: by score, then by id. A score is the inner product of two
float32 vectors, summed in float64 in a fixed order, so it depends on the two vectors alone. Indexes search in float32;
their candidates are scored again here.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from style_match.serving.index import storage
from style_match.serving.index.storage import Manifest, Unusable
from style_match.serving.where import Condition
from style_match.utils.errors import UserError

Answers = list[tuple[str, float]]
Cells = Mapping[str, str]
SLACK = 8  # candidates beyond k: enough unless many tie with the last one
WIDER = 4  # factor on the number of candidates after a tie
ROUNDING = 2.0**-24  # of one float32 operation
UNIT = 1e-3  # largest deviation of a vector's length from 1


@dataclass(frozen=True)
class Candidates:
    """Float32 search results of one query, best first: ids, scores (C,), vectors (C, E)."""

    ids: Sequence[str]
    scores: np.ndarray
    vectors: np.ndarray


@dataclass(kw_only=True, eq=False)
class Index(ABC):
    """Nearest profiles by inner product of unit vectors.

    The fields are the options of `conf/index/NAME.yaml`. Several threads may search at once; only one may change it.

    Attributes:
        kind: name in the manifest.
        built_with: options whose change requires a rebuild.
        matcher: identity of the matcher that computed the vectors.
        dim: embedding dimension E.
        recall: measured when an approximate index was built.
    """

    root: str | None
    query_block: int

    kind: ClassVar[str]
    built_with: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        self.matcher, self.dim = "", 0
        self.recall: dict[str, Any] | None = None

    @property
    def options(self) -> dict[str, Any]:
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "root"}

    @property
    def folder_name(self) -> str:
        """Name of the folder beside those of other kinds."""
        return self.kind

    @property
    def rebuild_reason(self) -> str | None:
        """Why the index should be rebuilt, if it should."""
        return None

    @property
    @abstractmethod
    def is_exact(self) -> bool:
        """Whether answers equal those of a search over all vectors."""

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
        """Hold exactly these profiles.

        Args:
            ids: N different profile ids.
            vectors: (N, E) float32 unit rows.
            payload: column -> cell of each profile, for `where`.
            matcher: identity of the matcher that computed the vectors.
            folder: where the index is stored; None keeps it in memory.
        """

    @abstractmethod
    def upsert(self, ids: Sequence[str], vectors: np.ndarray, payload: Sequence[Cells] | None) -> None:
        """Add profiles; those with a known id are replaced."""

    @abstractmethod
    def delete(self, ids: Collection[str]) -> int:
        """Remove profiles without trace; returns how many were found."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Store what `open(folder)` needs, atomically."""

    @abstractmethod
    def open(self, folder: Path, *, matcher: str | None) -> None:
        """Load a stored index; None accepts any matcher.

        Raises:
            NoIndex: nothing is stored there.
            Unusable: the stored index is damaged or was built with other options, by another matcher or version.
        """

    @abstractmethod
    def digests(self) -> dict[str, str]:
        """Profile id -> `digest` of its vector and cells."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _nearest(self, queries: np.ndarray, num: int, where: Condition | None) -> list[Candidates]:
        """At least the `num` nearest allowed profiles of each query; fewer only if there are no more."""

    def close(self) -> None:  # noqa: B027  # most hold no connection
        """Close files and connections."""

    def _manifest(self) -> Manifest:
        return Manifest(kind=self.kind, matcher=self.matcher, options=self.options, recall=self.recall)

    def _read_manifest(self, folder: Path, matcher: str | None) -> Manifest:
        """The manifest of a stored index of this kind, of this matcher (None: any) and built with these options."""
        found = storage.read_manifest(folder)
        if found.kind != self.kind:
            raise Unusable(f"its kind was {found.kind}, not {self.kind}")
        if matcher is not None and found.matcher != matcher:
            raise Unusable(f"its matcher was {found.matcher}, not {matcher}")
        for name in self.built_with:
            if found.options.get(name) != self.options[name]:
                raise Unusable(f"index.{name} was {found.options.get(name)}")
        return found

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        where: Condition | None = None,
        exclude: Sequence[Collection[str]] | None = None,
    ) -> list[Answers]:
        """The k nearest (id, score) of each query, best first, equal scores ordered by id.

        Args:
            queries: (Q, E) float32 unit rows.
            k: number of answers; fewer are returned only if fewer profiles are allowed.
            where: filter, applied before the first k are taken.
            exclude: ids to leave out, for each query.
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
        num = k + SLACK + max(map(len, excluded), default=0)
        pending = list(range(len(queries)))
        while pending:
            tied = []
            for query, found in zip(pending, self._nearest(queries[pending], num, where), strict=True):
                kept = [i for i, one in enumerate(found.ids) if one not in excluded[query]]
                # if there are `num` candidates, at least k are kept
                if (
                    self.is_exact
                    and len(found.ids) >= num
                    and found.scores[-1] >= found.scores[kept[k - 1]] - margin(self.dim)
                ):
                    tied.append(query)  # a profile that was not found may belong to the first k
                    continue
                scores = scores_of(queries[query], found.vectors[kept])
                scored = [(found.ids[i], float(score)) for i, score in zip(kept, scores, strict=True)]
                answers[query] = sorted(scored, key=lambda one: (-one[1], one[0]))[:k]
            pending, num = tied, WIDER * num
        return answers

    def update(self, ids: Sequence[str], vectors: np.ndarray, payload: Sequence[Cells] | None) -> str:
        """Hold exactly these profiles, changing only those that differ; returns what changed, empty if nothing did."""
        held = self.digests()
        each = zip(ids, vectors, cells_of(ids, payload), strict=True)
        given = {one: digest(vector, cells) for one, vector, cells in each}
        if removed := held.keys() - given.keys():
            self.delete(removed)
        changed = [i for i, one in enumerate(ids) if held.get(one) != given[one]]
        if changed:
            some = [payload[i] for i in changed] if payload is not None else None
            self.upsert([ids[i] for i in changed], vectors[changed], some)
        added = sum(ids[i] not in held for i in changed)
        if not changed and not removed:
            return ""
        return f"{added} added, {len(changed) - added} replaced, {len(removed)} removed"


def margin(dim: int) -> float:
    """Largest error of the difference of two float32 scores of unit rows, whatever the order of summation.

    A sum of n products is off by at most n u / (1 - n u) times the lengths (Higham, "Accuracy and Stability of
    Numerical Algorithms", section 3.1); two of them by twice that. One more operation covers lengths near 1.
    """
    share = (dim + 1) * ROUNDING
    return 2 * share / (1 - share)


def scores_of(query: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """(C,) float64 scores of a query (E,) and rows (C, E), both float32."""
    return np.sum(rows.astype(np.float64) * query.astype(np.float64), axis=1)


def cells_of(ids: Sequence[str], payload: Sequence[Cells] | None) -> Sequence[Cells]:
    """The cells of each profile."""
    if payload is not None and len(payload) != len(ids):
        raise ValueError(f"{len(ids)} ids, but the payload of {len(payload)}")
    return payload if payload is not None else [{}] * len(ids)


def digest(vector: np.ndarray, cells: Cells) -> str:
    """Digest of a vector's bytes and the cells that are not empty."""
    filled = sorted((name, cell) for name, cell in cells.items() if cell)
    content = np.ascontiguousarray(vector, np.float32).tobytes() + json.dumps(filled).encode()
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def unit_rows(rows: np.ndarray, dim: int | None = None) -> np.ndarray:
    """(N, E) contiguous float32.

    Raises:
        UserError: values that are not finite.
        ValueError: rows of another width or length.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if rows.ndim != 2 or (dim is not None and rows.shape[1] != dim):
        raise ValueError(f"expected rows of width {dim}, got shape {rows.shape}")
    lengths = np.sqrt(np.einsum("ne,ne->n", rows, rows))
    if broken := int((~np.isfinite(lengths)).sum()):
        raise UserError(f"{broken} of {len(rows)} vectors hold values that are not finite numbers.")
    if len(lengths) and np.abs(lengths - 1).max() > UNIT:
        raise ValueError(f"rows must have unit length, not {lengths.min():.4g} to {lengths.max():.4g}")
    return rows


def checked_profiles(ids: Sequence[str], vectors: np.ndarray, dim: int | None = None) -> np.ndarray:
    """`unit_rows` of profiles.

    Raises:
        ValueError: an id is empty or occurs twice, or their number differs from that of the vectors.
    """
    vectors = unit_rows(vectors, dim)
    if len(ids) != len(vectors) or len(set(ids)) != len(ids) or "" in ids:
        raise ValueError(f"{len(vectors)} vectors need as many different ids, not {len(set(ids))} of {len(ids)}")
    return vectors
