"""Files in which somebody still is: copies of a photo under any name, and texts that mention them."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from style_match.errors import UserError
from style_match.forgetting.person import Person
from style_match.forgetting.rows import Lines

_MAX_TEXT_BYTES = 2**26
_MIN_LETTERS = 3  # shorter ids, and those of digits alone, stand everywhere
_OWN = ("forgotten.json", ".forget.json")
_PHOTOS = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")


def copies(person: Person, folders: Iterable[Path]) -> set[Path]:
    """Files below the folders with the bytes of one of the photos.

    Raises:
        UserError: a file cannot be read.
    """
    hashes, sizes = set(person.sha256), set(person.sizes)
    return {path for path in _files(folders) if _size(path) in sizes and _sha256(path) in hashes}


def mentions(person: Person, folder: Path, *, leave_out: Collection[Path]) -> list[Path]:
    """Files below the folder, but for photos and what is below `leave_out`, in whose text an id or an image stands."""
    ids = [each for each in person.profile_ids if len(each) >= _MIN_LETTERS and not each.isdigit()]
    lines = Lines(ids, person.images)
    found = []
    for path in _files([folder]):
        if path.name in _OWN or any(path.is_relative_to(each) for each in leave_out) or _size(path) > _MAX_TEXT_BYTES:
            continue
        with open(path, "rb") as file:
            is_photo = file.read(4).startswith(_PHOTOS)
        if not is_photo and lines.in_file(path):
            found.append(path)
    return sorted(found)


def has_pictures(page: Path) -> bool:
    """Whether photos are written into an HTML page; charts are PNG."""
    return b"data:image/jpeg" in page.read_bytes()


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    """Regular files below the folders, links not followed."""
    for top in dict.fromkeys(folders):
        for folder, _, names in os.walk(top):
            for name in names:
                path = Path(folder, name)
                if path.is_file() and not path.is_symlink():
                    yield path


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _sha256(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}): whether it is a copy cannot be told.") from error
