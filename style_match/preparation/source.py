"""What a source of photos gives, whatever kind it is of."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from style_match.data.faults import Faults, has_control_character
from style_match.data.image_path import ImagePaths
from style_match.data.profiles import DUPLICATES, LEFT_OUT
from style_match.data.table import rounded, said_rounded
from style_match.errors import UserError
from style_match.spelling import plain, shown

SPLIT_WORDS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val", "test": "test"}
OWN_COLUMNS = (DUPLICATES, LEFT_OUT)  # what this step adds to the table, last


@dataclass(frozen=True)
class SourcePhoto:
    """One photo. `file` and `row` say where the source names it (row 0: the file itself is all there is).

    Attributes:
        image: what the source calls it; metadata.jsonl names it so.
        path: of its file; None where `blob` gives its bytes.
        columns: further cells, as text.
    """

    profile_id: str
    image: str
    file: str
    row: int
    columns: dict[str, str]
    path: Path | None = None
    blob: Callable[[], bytes] | None = None
    unit: str = "row"

    @property
    def place(self) -> str:
        return f"{self.file}, {self.unit} {self.row}" if self.row else self.file

    def content(self) -> bytes:
        """Its bytes, b"" where the source has none. Raises OSError."""
        if self.path is not None:
            return self.path.read_bytes()
        return self.blob() if self.blob else b""


@dataclass(frozen=True)
class Source:
    """All photos in the order of the source; `header` are the further columns, `notes` are sentences for the user."""

    root: Path
    kind: str
    photos: tuple[SourcePhoto, ...]
    header: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """What the source calls the columns that count; `to_label` is what this project will call the class."""

    profile_id: str
    image: str
    label: str
    to_label: str

    def renamed(self, record: Mapping[str, str]) -> dict[str, str]:
        """The further cells of a row under their new names."""
        own = (self.profile_id, self.image)
        return {self.to_label if name == self.label else name: cell for name, cell in record.items() if name not in own}

    def check(self, header: tuple[str, ...], file: str, faults: Faults) -> None:
        """A fault where a renamed column meets one that has that name already."""
        for option in ("profile_id", "image", "label"):
            given = getattr(self, option)
            name = self.to_label if option == "label" else option
            if given != name and given in header and name in header:
                what = f"{shown(name)} stands beside {shown(given)}; remove one or leave out columns.{option}={given}"
                faults.add(what, file=file, column=name)


def check_ids(photos: list[SourcePhoto], faults: Faults, *, remedy: str, several: bool = False) -> None:
    """Faults for ids that are empty, hold control characters, or (unless `several`) belong to two photos."""
    first: dict[object, SourcePhoto] = {}
    for photo in photos:
        if not photo.profile_id:
            faults.add("the cell is missing; fill it in or remove the row", file=photo.place, column="profile_id")
        elif has_control_character(photo.profile_id):
            faults.add(f"{shown(photo.profile_id)} holds a control character", file=photo.place, column="profile_id")
        earlier = first.setdefault((photo.profile_id, photo.image) if several else photo.profile_id, photo)
        if earlier is not photo and photo.profile_id:
            faults.add(f"{photo.image} and {earlier.image} have one id, {shown(photo.profile_id)}; {remedy}")


def check_rounded(photos: Sequence[SourcePhoto], column: str, faults: Faults) -> None:
    """A fault where ids are numbers that lost digits; see `style_match.data.table.rounded`."""
    ids = [photo.profile_id for photo in photos]
    if bad := rounded(ids):
        faults.add(said_rounded(ids, bad), file=photos[bad[0]].place, column=column)


def content_of(value: Any, images: ImagePaths, place: str) -> bytes:
    """The bytes of an image cell: bytes, or a struct with `bytes` and `path`; without bytes the file at the path.

    Raises:
        UserError: there are no bytes, and no file at the path inside the folders of `images`.
    """
    found = value.get("bytes") if isinstance(value, Mapping) else value
    path = value.get("path") if isinstance(value, Mapping) else None
    if found or not path:
        return found or b""
    file, fault = images.find_stored(plain(path))
    if file is None:
        raise UserError(f"{place} has no bytes, only a path: {fault}")
    return file.read_bytes()


def to_split(word: str) -> str:
    """A source's word for a split in ours; a word that is none stays as it is and is a fault later."""
    return SPLIT_WORDS.get(word.lower(), word)


def as_text(value: Any) -> str:
    """A cell of a typed table; "" for null and NaN."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return plain(str(value))
