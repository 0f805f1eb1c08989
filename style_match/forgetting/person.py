"""Who is to be forgotten: every profile of one person, their photos, and the names other files know them by."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from style_match.data.faults import MAX_SHOWN, Faults
from style_match.data.fingerprint import Fingerprints
from style_match.data.image_path import ImagePaths
from style_match.data.metadata import FILE_NAME, metadata_name, parse_line
from style_match.data.profiles import DUPLICATES
from style_match.data.table import read_table
from style_match.errors import UserError
from style_match.spelling import cut, other_case, stored_forms

_NUM_NEAREST = 3


@dataclass(frozen=True)
class Person:
    """All that is needed to find somebody again once half of their data is gone; fit for JSON.

    Attributes:
        asked: the ids of the command.
        profile_ids: of all of the person's profiles.
        images: of them, as the profiles table writes them.
        paths: of the photos' files, and `sha256` and `sizes` (bytes) of their contents, but for photos that somebody
            else has too: these stay.
        seen: what the photos are called in a run's seen.txt.
        addresses: of feature rows that tell no owner, under every prompt that is known.
        notes: sentences for the user.
    """

    asked: tuple[str, ...]
    profile_ids: tuple[str, ...]
    images: tuple[str, ...]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    sizes: tuple[int, ...]
    seen: tuple[str, ...]
    addresses: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def stored_ids(self) -> tuple[str, ...]:
        """The ids in every form that something stored may have them."""
        return tuple(sorted({form for each in self.profile_ids for form in stored_forms(each)}))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Person":
        return cls(**{name: tuple(value) for name, value in content.items()})


@dataclass(frozen=True)
class Row:
    """A row of the profiles table; no path where there is no such file inside the folder."""

    profile_id: str
    image: str
    path: Path | None
    sha256: str | None
    user_id: str
    group: str


@dataclass(frozen=True)
class Table:
    """The profiles as they stand, photos that are left out too, and the metadata of each image."""

    rows: tuple[Row, ...]
    metadata: Mapping[PurePosixPath, dict[str, Any]]


def read(root: Path, image_root: Path, fingerprints: Fingerprints) -> Table:
    """Reads the profiles table and hashes every photo.

    Raises:
        UserError: there is no readable profiles table, or a photo cannot be read.
    """
    faults = Faults(root, MAX_SHOWN)
    table = read_table(root, "profiles", (("profile_id", "image"),), faults)
    faults.raise_if_any()
    assert table is not None  # what could not be read has left a fault
    images = ImagePaths(image_root, (root, image_root), root)
    rows = []
    for _, record in table.records():
        path = images.find(record["image"])[0] if record["image"] else None
        sha256 = fingerprints.sha256(path) if path is not None else None
        user_id, group = record.get("user_id", ""), record.get(DUPLICATES, "")
        rows.append(Row(record["profile_id"], record["image"], path, sha256, user_id, group))
    return Table(tuple(rows), _metadata(root))


def find(table: Table, asked: Sequence[str], *, near_copies: bool, place: str) -> tuple[list[Row], list[str]]:
    """The rows of the person behind the profiles `asked`, and sentences about rows that are near and stay.

    A profile is of the same person where it shares a `user_id`, or a photo's bytes and does not name another user.

    Args:
        near_copies: profiles of the same `duplicate_group` go, too.

    Raises:
        UserError: a profile that is not there.
    """
    known = {row.profile_id for row in table.rows}
    for profile_id in asked:
        if profile_id not in known:
            near = difflib.get_close_matches(profile_id, known, n=_NUM_NEAREST, cutoff=0.4)
            hint = f"; the nearest are {', '.join(map(cut, near))}" if near else ""
            if twin := other_case(profile_id, sorted(known)):
                hint = f", but {cut(twin)}: upper and lower case count"
            raise UserError(f"profile={cut(profile_id)}: no such profile in {place}{hint}.")
    ids = set(asked)
    while True:
        theirs = [row for row in table.rows if row.profile_id in ids]
        more = {row.profile_id for row in table.rows if any(_same(row, each, near_copies) for each in theirs)}
        if more <= ids:
            break
        ids |= more
    others = [row for row in table.rows if row.profile_id not in ids]
    notes = [
        f"profile {profile_id} goes with {', '.join(asked)}: the same user_id, the same photo or a copy of it"
        for profile_id in sorted(ids - set(asked))
    ]
    groups = {row.group for row in theirs} - {""}
    if near := sorted({row.profile_id for row in others if row.group in groups}):
        notes.append(
            f"profile {', '.join(near)} has a near copy of one of the photos and stays: near_copies=true forgets it"
        )
    return theirs, notes


def _same(row: Row, theirs: Row, near_copies: bool) -> bool:
    if row.user_id and theirs.user_id:
        if row.user_id == theirs.user_id:
            return True
    elif row.sha256 is not None and row.sha256 == theirs.sha256:
        return True
    return near_copies and bool(row.group) and row.group == theirs.group


def describe(table: Table, asked: Sequence[str], theirs: Sequence[Row], notes: Iterable[str]) -> Person:
    """The person of these rows."""
    ids = {row.profile_id for row in theirs}
    others = [row for row in table.rows if row.profile_id not in ids]
    shared = {row.sha256 for row in others} | {str(row.path) for row in others}
    own = [row for row in theirs if row.path is not None and not {row.sha256, str(row.path)} & shared]
    kept = sorted({row.image for row in theirs if row.path is not None} - {row.image for row in own})
    absent = sorted({row.image for row in theirs if row.path is None})
    notes = list(notes)
    if kept:
        notes.append(f"{', '.join(kept)} and its features stay: a profile with another user_id has the same photo")
    if absent:
        notes.append(f"no file {', '.join(absent)} inside the folder: look for that photo yourself")
    links = [row.image for row in own if row.path is not None and row.path.stat().st_nlink > 1]
    if links:
        notes.append(
            f"{', '.join(links)} has another name outside the rows (a hard link): that file stays unless it is in here"
        )
    hashes = {row.sha256: row.path for row in own if row.sha256 is not None and row.path is not None}
    names = {
        metadata_name(form, table.metadata.get(PurePosixPath(row.image)))
        for row in theirs
        for form in stored_forms(row.profile_id)
    }
    return Person(
        asked=tuple(asked),
        profile_ids=tuple(sorted(ids)),
        images=tuple(sorted({row.image for row in theirs} - {row.image for row in others})),
        paths=tuple(sorted({str(row.path) for row in own})),
        sha256=tuple(sorted(hashes)),
        sizes=tuple(sorted({path.stat().st_size for path in hashes.values()})),
        seen=tuple(sorted({*hashes, *names})),
        addresses=(),
        notes=tuple(notes),
    )


def _metadata(root: Path) -> dict[PurePosixPath, dict[str, Any]]:
    """Of the lines that can be read."""
    found = {}
    path = root / FILE_NAME
    for line in path.read_text(encoding="utf-8-sig", errors="replace").split("\n") if path.is_file() else ():
        about = parse_line(line)
        if not isinstance(about, str):
            found[PurePosixPath(about.pop("image"))] = about
    return found
