"""Embedded profiles: who they are, what is known of them, and where they are in the space of a matcher."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

SIDE = "side of couple"  # column of `Vectors.rows`


@dataclass(frozen=True)
class Vectors:
    """The profiles of a dataset folder, embedded.

    Attributes:
        profile_ids: (N,) each once, in the order of the table.
        embeddings: (N, E) float32, of unit length.
        columns: (N,) the further columns of each profile, name -> cell.
        people: (N,) number of the person behind each profile; profiles of one person are never matched.
        sides: (N,) 0 for left, 1 for right, -1 where it is not known; all -1 where the matcher is of styles.
        matcher: identity of the matcher.
        photos: (N,) the files of each profile's photos.
        person_of_photo: sha256 (hex) of a photo's file -> number of the person; empty where photos are not looked at.
        side_names: what the sides are called; None for styles.
    """

    profile_ids: tuple[str, ...]
    embeddings: np.ndarray
    columns: tuple[dict[str, str], ...]
    people: np.ndarray
    sides: np.ndarray
    matcher: str
    photos: tuple[tuple[str, ...], ...]
    person_of_photo: dict[str, int]
    side_names: tuple[str, str] | None

    def __len__(self) -> int:
        return len(self.profile_ids)

    @cached_property
    def row_of(self) -> dict[str, int]:
        return {profile_id: row for row, profile_id in enumerate(self.profile_ids)}

    @cached_property
    def rows(self) -> tuple[dict[str, str], ...]:
        """(N,) what an index keeps of each profile: its columns and, of couples, its side."""
        if self.side_names is None:
            return self.columns
        names = {0: self.side_names[0], 1: self.side_names[1]}
        sides = [names.get(side, "") for side in self.sides.tolist()]
        return tuple({**cells, SIDE: side} for cells, side in zip(self.columns, sides, strict=True))
