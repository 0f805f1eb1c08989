"""Folders that may hold what the labeler wrote about somebody, and what their photos are called there."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from style_match.errors import UserError
from style_match.forgetting.copies import copies
from style_match.forgetting.person import Person
from style_match.forgetting.rows import Lines
from style_match.labeler.ledger import FILE_NAME as LEDGER


def places(person: Person, root: Path, image_root: Path) -> Iterator[tuple[Path, Lines]]:
    """The dataset folder, that of its photos, every one above a photo of the person in them, every one with a ledger.

    Raises:
        UserError: a ledger cannot be read.
    """
    tops = list(dict.fromkeys((root, image_root)))
    theirs = {*map(Path, person.paths), *copies(person, tops)}
    below = {folder for path in theirs for folder in path.parents if any(folder.is_relative_to(top) for top in tops)}
    below |= {path.parent for top in tops for path in top.rglob(LEDGER)}
    for folder in [*tops, *sorted(below - {*tops})]:
        base = _photos_of(folder)
        names = {path.relative_to(base).as_posix() for path in theirs if path.is_relative_to(base)}
        yield folder, Lines(person.profile_ids, {*person.images} if base == root else names)


def _photos_of(folder: Path) -> Path:
    """What the photos in the folder's metadata.jsonl are relative to: the ledger tells where it is another folder."""
    path = folder / LEDGER
    if not path.is_file():
        return folder
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            row = database.execute("SELECT value FROM note WHERE name = 'images'").fetchone()
    except sqlite3.Error as error:
        raise UserError(f"{path} cannot be read ({error}): mend it, or delete it, first.") from error
    return Path(os.path.normpath(folder / row[0])) if row else folder
