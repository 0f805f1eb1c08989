"""serving.index.storage."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from style_match.utils.errors import UserError
from style_match.utils.files import remove_unfinished, write_whole

MANIFEST, LOCK = "manifest.json", ".lock"


class Unreadable(UserError):
    """It is damaged, or was written by another version."""


class NoIndex(UserError):
    """There is none yet where one was to be opened."""


FORMAT = 1


STORAGE = "qdrant"  # folder of an embedded Qdrant


PART = re.compile(r"[a-z]+-[0-9a-f]{32}\.[a-z]+")  # name, digest, suffix


REMEDY = "Free some space or name another folder with index.root=FOLDER."


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While inside, no other process changes this index; a killed one's lock is let go of by the operating system."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, "a")  # noqa: SIM115  # closed below
    except OSError as error:
        raise _unwritable(folder, error) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def save(folder: Path, manifest: Mapping[str, Any], files: Mapping[str, tuple[str, Callable[[Path], None]]]) -> None:
    """Write files, then the manifest that names them, then remove those of the manifest before.

    Args:
        manifest: plain values; `format`, `files` and `digest` are added.
        files: name of the part -> (suffix, function that writes the part to a path).
    Raises:
        UserError: the folder cannot be written, or the disk is full; the index before stays.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tidy(folder)
        named = {part: _placed(folder, part, suffix, write) for part, (suffix, write) in files.items()}
    except OSError as error:
        raise _unwritable(folder, error) from error
    content = {**manifest, "format": FORMAT, "files": named}
    text = json.dumps({**content, "digest": _digest_of(content)}, indent=2, ensure_ascii=False) + "\n"
    write_whole(folder / MANIFEST, text, remedy=REMEDY)
    tidy(folder)


def tidy(folder: Path) -> None:
    """Remove what killed writers left and parts that the manifest does not name; only where no other process writes.

    Raises:
        UserError: the manifest is damaged.
    """
    try:
        named = set(read_manifest(folder)["files"].values())
    except NoIndex:
        named = set()
    remove_unfinished(folder)
    for path in folder.iterdir():
        if PART.fullmatch(path.name) and path.name not in named:
            path.unlink(missing_ok=True)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the manifest says.

    Raises:
        NoIndex: there is none.
        UserError: damaged, of a newer format, or not to be read.
    """
    path = folder / MANIFEST
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        content = {name: value for name, value in read.items() if name != "digest"}
    except FileNotFoundError as error:
        raise NoIndex(f"There is no index in {folder}.") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise damaged(path, "is no manifest of an index") from error
    number = content.get("format")
    if isinstance(number, int) and number > FORMAT:
        raise Unreadable(
            f"{path} is of format {number}; this version of style_match reads up to {FORMAT}. Install a newer "
            f"style_match, or name another folder with index.root=FOLDER."
        )
    if number != FORMAT or read.get("digest") != _digest_of(content):
        raise damaged(path, "was changed after it was written")
    return content


def check_manifest(folder: Path, manifest: Mapping[str, Any], *, kind: str, matcher: str | None) -> None:
    """Whether an index of this kind and matcher was saved there; None: of any.

    Raises:
        UserError: it is another; names both.
    """
    path = folder / MANIFEST
    if manifest["kind"] != kind:
        raise UserError(f"{path} is of the kind {manifest['kind']}, not {kind}: open it as what it is, or delete it.")
    if matcher is not None and manifest["matcher"] != matcher:
        raise other_matcher(folder, manifest["matcher"], matcher)


def other_matcher(where: object, its: str, wanted: str) -> UserError:
    return UserError(
        f"The index {where} holds vectors of the matcher {its}, which cannot be compared with those of {wanted}. Name "
        "that matcher with model=FOLDER, or another place for the index with index.root=FOLDER."
    )


def part(folder: Path, manifest: Mapping[str, Any], name: str) -> Path:
    """The path of a part, its content verified.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / manifest["files"][name]
    try:
        told = _digest_of_file(path)
    except OSError as error:
        raise damaged(path, f"cannot be read ({error.strerror})") from error
    if told != path.stem.rpartition("-")[2]:
        raise damaged(path, "does not match its digest")
    return path


def remove_files(folder: Path) -> list[str]:
    """Remove every file of an index, whatever the manifest says; returns the names of what else the folder holds.

    Raises:
        UserError: a file cannot be removed.
    """
    try:
        remove_unfinished(folder)
        for path in folder.iterdir():
            if path.name == STORAGE:
                shutil.rmtree(path)
            elif PART.fullmatch(path.name) or path.name == MANIFEST:
                path.unlink()
        return sorted(path.name for path in folder.iterdir() if path.name != LOCK)
    except OSError as error:
        raise _unwritable(folder, error) from error


def damaged(path: Path, what: str) -> UserError:
    return Unreadable(
        f"{path} {what}, so this index is not trusted: delete the folder {path.parent}; "
        "the same command builds it anew."
    )


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(f"The index {error.filename or folder} cannot be written: {error.strerror or error}. {REMEDY}")


def _placed(folder: Path, part: str, suffix: str, write: Callable[[Path], None]) -> str:
    """Write a part beside its place, then name it after its content; returns the name."""
    beside = folder / f".{part}.{os.getpid()}.tmp"
    try:
        write(beside)
        with open(beside, "rb") as file:
            os.fsync(file.fileno())
        name = f"{part}-{_digest_of_file(beside)}{suffix}"
        os.replace(beside, folder / name)
    finally:
        beside.unlink(missing_ok=True)
    return name


def _digest_of_file(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _digest_of(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
