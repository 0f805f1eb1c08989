"""Base class of the indexes: unit vectors by profile id, and the k nearest that a filter allows.

All exact indexes give the same answers in the same order: by score, then by id. A score is the inner product of two
float32 vectors, summed in float64, so it depends on these two vectors only. Indexes search in float32; `Index.search`
scores their candidates again.
"""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import numpy as np

from style_match.serving.where import Condition, as_columns
from style_match.utils.errors import UserError

Answers: TypeAlias = list[tuple[str, float]]  # (profile id, score), best first
Cells: TypeAlias = Mapping[str, str]

QUERY_BLOCK = 64  # queries that are searched together
SLACK = 8  # candidates beyond k; more are needed only if many tie with the last one
WIDER = 4  # factor on the number of candidates after a tie
ROUNDING = 2.0**-24  # largest relative error of one float32 operation
UNIT = 1e-3  # largest deviation of a vector's length from 1


class Unusable(Exception):
    """A stored index must be rebuilt; the message is the reason."""


class Index(ABC):
    """Nearest profiles by the inner product of unit vectors.

    Call `build` first. Several threads may search at the same time.

    Attributes:
        kind: Name of the index, also of its folder on the disk.
        is_exact: Whether answers equal those of a search over all vectors.
        ids: (N,) profile ids.
        vectors: (N, E) float32.
        columns: Name -> (N,) cells, which filters compare.
        matcher: Identity of the matcher that computed the vectors.
        recall: `k`, `queries` and `value` of an approximate index, measured when it was built.
    """

    kind: ClassVar[str]
    is_stored: ClassVar[bool] = False
    root: str | None = None  # folder of all stored indexes

    def __init__(self) -> None:
        self.is_exact = True
        self.ids: tuple[str, ...] = ()
        self.vectors = np.empty((0, 0), np.float32)
        self.columns: dict[str, list[str]] = {}
        self.matcher = ""
        self.recall: dict[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def build(
        self,
        ids: Sequence[str],
        vectors: np.ndarray,
        cells: Sequence[Cells] | None,
        matcher: str,
        *,
        folder: Path | None = None,
    ) -> str:
        """Make the index hold exactly these profiles.

        Args:
            ids: (N,) different profile ids.
            vectors: (N, E) float32 unit rows.
            cells: (N,) column -> cell of each profile; None if there are no columns.
            matcher: Identity of the matcher that computed the vectors.
            folder: Where an index that is stored reads its last state from, and writes its new state to; None keeps it
                in memory.

        Returns:
            What was done, for a message.

        Raises:
            UserError: A vector has values that are not finite, or the folder or server cannot be used.
            ValueError: Ids are not unique, or shapes or lengths of vectors are wrong.
        """
        vectors = unit_rows(vectors)
        if len(ids) != len(vectors) or len(set(ids)) != len(ids) or "" in ids:
            raise ValueError(f"{len(vectors)} vectors need as many different ids, not {len(set(ids))} of {len(ids)}")
        cells = cells if cells is not None else [{}] * len(ids)
        if len(cells) != len(ids):
            raise ValueError(f"expected the cells of {len(ids)} profiles, got {len(cells)}")
        self.ids, self.vectors, self.columns, self.matcher = tuple(ids), vectors, as_columns(cells), matcher
        return self._build(cells, folder)

    @abstractmethod
    def _build(self, cells: Sequence[Cells], folder: Path | None) -> str:
        """Prepare the search of `ids` and `vectors`, see `build`."""

    @abstractmethod
    def _filter(self, where: Condition) -> Any:
        """Translate a condition for `_nearest`."""

    @abstractmethod
    def _nearest(self, queries: np.ndarray, num: int, allowed: Any) -> tuple[np.ndarray, np.ndarray]:
        """Find the `num` nearest allowed rows in float32; `allowed` comes from `_filter`, None means all rows.

        Returns:
            Scores (Q, C) float32, best first, and rows (Q, C), which are -1 where fewer than `num` rows are allowed.
        """

    @property
    def folder_name(self) -> str:
        """Name of the folder of a stored index."""
        return self.kind

    def server(self, folder: Path) -> dict[str, str]:
        """Return `url` and `collection` of an index on a server; empty for others."""
        return {}

    def close(self) -> None:  # noqa: B027 - most indexes hold no connection
        """Close files and connections."""

    def search(
        self,
        queries: np.ndarray,
        k: int,
        *,
        where: Condition | None = None,
        exclude: Sequence[Collection[str]] | None = None,
    ) -> list[Answers]:
        """Return the k nearest (id, score) of each query, best first; equal scores are ordered by id.

        Args:
            queries: (Q, E) float32 unit rows.
            k: Number of answers; fewer are returned only if fewer profiles are allowed.
            where: Filter, applied before the first k are taken.
            exclude: (Q,) ids to leave out for each query.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        queries = unit_rows(queries, self.vectors.shape[1])
        excluded = exclude if exclude is not None else [()] * len(queries)
        allowed = None if where is None else self._filter(where)
        answers: list[Answers] = []
        for start in range(0, len(queries), QUERY_BLOCK):
            block = slice(start, start + QUERY_BLOCK)
            answers += self._search_block(queries[block], k, allowed, excluded[block])
        return answers

    def _search_block(
        self, queries: np.ndarray, k: int, allowed: Any, excluded: Sequence[Collection[str]]
    ) -> list[Answers]:
        answers: list[Answers] = [[] for _ in queries]
        num, error = k + SLACK + max(map(len, excluded), default=0), rounding_error(self.vectors.shape[1])
        pending = list(range(len(queries)))
        while pending:
            tied = []
            for query, scores, rows in zip(pending, *self._nearest(queries[pending], num, allowed), strict=True):
                found = rows[rows >= 0]
                answer = self._scored(queries[query], found, excluded[query])[:k]
                # A row that was not found scores at most the last float32 score plus its rounding error.
                if self.is_exact and len(found) >= num and float(scores[-1]) + error >= answer[-1][1]:
                    tied.append(query)
                else:
                    answers[query] = answer
            pending, num = tied, WIDER * num
        return answers

    def _scored(self, query: np.ndarray, rows: np.ndarray, excluded: Collection[str]) -> Answers:
        """The float64 scores of these rows, best first, without excluded ids."""
        scores = np.sum(self.vectors[rows].astype(np.float64) * query.astype(np.float64), axis=1)
        scored = zip([self.ids[row] for row in rows.tolist()], scores.tolist(), strict=True)
        return sorted((each for each in scored if each[0] not in excluded), key=lambda each: (-each[1], each[0]))


def rounding_error(dim: int) -> float:
    """Largest error of a float32 score of two unit rows, whatever the order of summation.

    A float32 sum of n products is off by at most n u / (1 - n u) times the lengths (Higham, "Accuracy and Stability of
    Numerical Algorithms", section 3.1). One more operation covers lengths near 1.
    """
    share = (dim + 1) * ROUNDING
    return share / (1 - share)


def unit_rows(rows: np.ndarray, dim: int | None = None) -> np.ndarray:
    """Return rows as a contiguous (N, E) float32 array.

    Raises:
        UserError: Values are not finite.
        ValueError: Rows have another width than `dim`, or not unit length.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    if rows.ndim != 2 or (dim is not None and rows.shape[1] != dim):
        raise ValueError(f"expected rows of width {dim}, got shape {rows.shape}")
    lengths = np.sqrt(np.einsum("ne,ne->n", rows, rows))
    if broken := int((~np.isfinite(lengths)).sum()):
        raise UserError(f"{broken} of {len(rows)} vectors have values that are not finite.")
    if len(lengths) and np.abs(lengths - 1).max() > UNIT:
        raise ValueError(f"rows must have unit length, not {lengths.min():.4g} to {lengths.max():.4g}")
    return rows
