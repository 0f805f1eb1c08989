"""rejected.csv: what a run left out and why."""

import difflib
import unicodedata
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, write_whole
from style_match.utils.text import other_case, shown

if TYPE_CHECKING:
    from style_match.data.dataset import DatasetFolder


# The rows of a dataset folder after reading.


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


# Mistakes in a dataset folder, gathered so that one run reports them all.


MAX_SHOWN = 20  # faults in one message, where no option says how many


class Faults:
    """Collects what is wrong with the folder; `raise_if_any` turns it into one `UserError`."""

    def __init__(self, folder: Path, max_shown: int) -> None:
        self.folder, self.max_shown = folder, max_shown
        self._found: list[str] = []
        self._before = ""  # stands before each file

    def inside(self, name: str) -> "Faults":
        """The same collection, for files of a folder in the folder."""
        inner = Faults(self.folder, self.max_shown)
        inner._found, inner._before = self._found, f"{name}/"
        return inner

    def add(self, what: str, *, file: str = "", place: str = "", column: str = "") -> None:
        """`file` is the name inside the folder, `place` is "line 4" or "row 3", `what` ends with the remedy."""
        file = f"{self._before}{file}" if file else ""
        where = ", ".join(part for part in (file, place, f"column {column}" if column else "") if part)
        self._found.append(f"{where}: {what}" if where else what)

    def __len__(self) -> int:
        return len(self._found)

    def raise_if_any(self) -> None:
        """Raises UserError with one line a fault, at most `max_shown` of them, the rest counted."""
        if not self._found:
            return
        shown = self._found[: self.max_shown]
        left = len(self._found) - len(shown)
        title = f"{len(self._found)} fault{'s' if len(self._found) > 1 else ''} in the dataset folder {self.folder}:"
        rest = [f"... and {left} more"] if left else []
        raise UserError("\n  ".join([title, *shown, *rest]))


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint to append to a message: " (did you mean 'x'?)", or nothing when no known word is near."""
    if twin := other_case(word, known := [*known]):
        return f" (did you mean {shown(twin)}?)"
    by_lower = {each.lower(): each for each in known}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1)
    return f" (did you mean {shown(by_lower[found[0]])}?)" if found else ""


def has_control_character(text: str) -> bool:
    """Tabs, line ends and the like, which belong into no id or file name."""
    return any(unicodedata.category(letter) == "Cc" for letter in text)


def write_rejected(folder: "DatasetFolder", path: Path, *, more: tuple[Rejected, ...] = ()) -> int:
    """Writes kind, id, file, row, reason of `folder.rejected` and `more` (a split's); returns how many.

    The file is written even when nothing was rejected, so that an older one does not stay.
    """
    rejected = (*folder.rejected, *more)
    write_whole(path, as_csv([each.name for each in fields(Rejected)], map(astuple, rejected)))
    return len(rejected)


LEFT_OUT, DUPLICATES = "left_out", "duplicate_group"  # columns that style_match.prepare adds
