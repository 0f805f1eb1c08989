"""The rows of a dataset folder after reading."""

from dataclasses import dataclass
from pathlib import Path

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Photo:
    """One row of the profiles table. `image` is as written there, `path` where the file is, `row` its line."""

    profile_id: str
    image: str
    path: Path
    row: int


@dataclass(frozen=True)
class Couple:
    """One row of the couples table; `split` where the user gave one."""

    left_id: str
    right_id: str
    split: str | None
    row: int

    @property
    def item_id(self) -> str:
        """Names the couple in a split. An id never holds a tab (the folder's validation refuses it)."""
        return f"{self.left_id}\t{self.right_id}"


@dataclass(frozen=True)
class Rejected:
    """What was left out and why: `kind` is "photo", "profile" or "couple", `row` its line in `file`."""

    kind: str
    id: str
    file: str
    row: int
    reason: str


JOURNAL, FORGOTTEN = ".forget.json", "forgotten.json"
