"""The folder of a stored index: a manifest and a data file, which is never changed and has its digest in its name.

The manifest is replaced last, so a killed process leaves the index before or the one after. The folder of an embedded
Qdrant is Qdrant's own.
"""

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from style_match.utils.errors import UserError
from style_match.utils.files import remove_unfinished, write_whole

MANIFEST, LOCK, STORAGE = "manifest.json", ".lock", "qdrant"
DATA_FILE = re.compile(r"[a-z]+-[0-9a-f]{32}\.[a-z]+")  # name, digest, suffix; earlier versions wrote several
REMEDY = "Free some space or choose another folder with index.root=FOLDER."


class NoIndex(Exception):
    """Nothing is stored in the folder."""


class Unusable(Exception):
    """The stored index must be rebuilt; the message is the reason."""


class Manifest(BaseModel):
    """What is stored: the index's kind, matcher and options, and the name of its data file."""

    format: Literal[1] = 1
    kind: str
    matcher: str
    options: dict[str, Any]
    recall: dict[str, Any] | None = None  # HNSW
    file: str | None = Field(default=None, pattern=DATA_FILE.pattern)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn errors of the operating system into the user's.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    try:
        yield
    except OSError as error:
        problem = f"{error.filename or folder} cannot be written: {error.strerror or error}."
        raise UserError(f"The index {problem} {REMEDY}") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from changing this index; the folder is created if it does not exist."""
    with ExitStack() as stack:
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(folder / LOCK, "a"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of a stored index.

    Raises:
        NoIndex: there is none.
        Unusable: it is damaged or of another version.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise NoIndex(f"There is no index in {folder}.") from error
    except ValueError as error:
        raise Unusable(f"{path} is damaged or of another version") from error
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error


def save(folder: Path, manifest: Manifest, arrays: Mapping[str, np.ndarray] | None = None) -> None:
    """Write the data file, then the manifest that names it, then remove older data files."""
    from safetensors.numpy import save_file

    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if arrays is not None:
            beside = folder / f".data.{os.getpid()}.tmp"
            save_file(dict(arrays), beside)
            manifest.file = f"data-{_digest(beside)}.safetensors"
            os.replace(beside, folder / manifest.file)
        write_whole(folder / MANIFEST, manifest.model_dump_json(indent=2) + "\n", remedy=REMEDY)
        remove_leftovers(folder)


def load(folder: Path, manifest: Manifest) -> dict[str, np.ndarray]:
    """Read the data file.

    Raises:
        Unusable: it is missing or damaged.
    """
    from safetensors.numpy import load_file

    path = folder / (manifest.file or MANIFEST)
    if not path.is_file() or _digest(path) not in path.name:
        raise Unusable(f"{path} is missing or damaged")
    return load_file(path)


def remove_leftovers(folder: Path) -> None:
    """Remove data files that the manifest does not name and what killed writers left; no other process may write.

    Raises:
        Unusable: the manifest is damaged.
    """
    try:
        name = read_manifest(folder).file
    except NoIndex:
        name = None
    remove_unfinished(folder)
    for path in folder.iterdir():
        if DATA_FILE.fullmatch(path.name) and path.name != name:
            path.unlink(missing_ok=True)


def remove_files(folder: Path) -> list[str]:
    """Remove every file of an index, whatever the manifest says; returns the names of other files in the folder."""
    with writing(folder):
        remove_unfinished(folder)
        for path in folder.iterdir():
            if path.name == STORAGE:
                shutil.rmtree(path)
            elif DATA_FILE.fullmatch(path.name) or path.name == MANIFEST:
                path.unlink()
        return sorted(path.name for path in folder.iterdir() if path.name != LOCK)


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]
