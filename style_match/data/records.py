"""Rows of a dataset folder, and the faults found while reading it."""

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from style_match.utils.errors import UserError
from style_match.utils.text import other_case, shown

SPLITS = ("train", "val", "test")
LEFT_OUT, DUPLICATES = "left_out", "duplicate_group"  # columns that style_match.prepare adds
JOURNAL, FORGOTTEN = ".forget.json", "forgotten.json"
MAX_SHOWN = 20  # faults in one message


@dataclass(frozen=True)
class Photo:
    """One row of the profiles table: `image` as written there, `path` of the file, `row` (line) in the table."""

    profile_id: str
    image: str
    path: Path
    row: int


@dataclass(frozen=True)
class Couple:
    """One row of the couples table; `split` if the user's `split` column divides the data."""

    left_id: str
    right_id: str
    split: str | None
    row: int

    @property
    def item_id(self) -> str:
        """The name of the couple in a split. An id never contains a tab."""
        return f"{self.left_id}\t{self.right_id}"


@dataclass(frozen=True)
class Rejected:
    """What was left out and why: `kind` is "photo", "profile" or "couple", `row` its line in `file`."""

    kind: str
    id: str
    file: str
    row: int
    reason: str


def describe_item(item: str) -> str:
    """An item id for a message: the two ids of a couple joined by a plus sign."""
    return item.replace("\t", " + ")


class Faults:
    """Collects the faults of a folder, so that one `UserError` reports them all."""

    def __init__(self, folder: Path, max_shown: int) -> None:
        self.folder, self.max_shown = folder, max_shown
        self._found: list[str] = []
        self._prefix = ""

    def inside(self, name: str) -> "Faults":
        """The same collection, for the files of a subfolder."""
        inner = Faults(self.folder, self.max_shown)
        inner._found, inner._prefix = self._found, f"{name}/"
        return inner

    def add(self, what: str, *, file: str = "", place: str = "", column: str = "") -> None:
        """Add a fault: `file` inside the folder, `place` such as "line 4"; `what` ends with the remedy."""
        file = f"{self._prefix}{file}" if file else ""
        where = ", ".join(part for part in (file, place, f"column {column}" if column else "") if part)
        self._found.append(f"{where}: {what}" if where else what)

    def __len__(self) -> int:
        return len(self._found)

    def raise_if_any(self) -> None:
        """Raise a UserError with one line per fault, at most `max_shown`; the rest is counted."""
        if count := len(self._found):
            title = f"{count} fault{'s' if count > 1 else ''} in the dataset folder {self.folder}:"
            more = [f"... and {count - self.max_shown} more"] if count > self.max_shown else []
            raise UserError("\n  ".join([title, *self._found[: self.max_shown], *more]))


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint to append to a message: " (did you mean 'x'?)", or "" if no known word is similar."""
    known = [*known]
    by_lower = {each.lower(): each for each in known}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1)
    match = other_case(word, known) or (by_lower[close[0]] if close else None)
    return f" (did you mean {shown(match)}?)" if match else ""


def has_control_character(text: str) -> bool:
    """Whether a text contains tabs, line ends and the like, which no id or file name may contain."""
    return any(unicodedata.category(letter) == "Cc" for letter in text)
