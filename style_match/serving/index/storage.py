"""The folder of a stored index: its lock, and the file of a graph."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from style_match.utils.errors import UserError
from style_match.utils.files import hold, replace_whole

GRAPH, LOCK = "graph.safetensors", ".lock"


class Unusable(Exception):
    """The stored index must be rebuilt; the message is the reason."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Report errors of the operating system as a `UserError` that names the folder and a remedy."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"The index {error.filename or folder} cannot be written: {error.strerror or error}. Free some space or "
            "choose another folder with index.root=FOLDER."
        ) from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make the folder if needed, and keep other processes from changing its index."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = hold(folder / LOCK, wait=True)
    assert lock is not None
    with lock:
        yield


def clear(folder: Path) -> None:
    """Remove everything in the folder of an index except its lock."""
    with writing(folder):
        for path in folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()


def save_graph(folder: Path, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a graph atomically.

    Args:
        folder: Folder of the index.
        arrays: Contents by name.
        about: Values for JSON.

    Raises:
        UserError: The folder cannot be written.
    """
    text = json.dumps(about)
    with writing(folder):
        replace_whole(folder / GRAPH, save(dict(arrays), {"about": text, "digest": _digest(arrays, text)}))


def load_graph(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Read what `save_graph` wrote; return None if there is no graph.

    Raises:
        Unusable: The file is damaged.
    """
    path = folder / GRAPH
    if not path.is_file():
        return None
    try:
        with safe_open(path, "np") as file:
            header = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        is_whole = header["digest"] == _digest(arrays, header["about"])
        about = json.loads(header["about"])
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise Unusable(f"{path} is damaged") from error
    if not is_whole:
        raise Unusable(f"{path} is damaged")
    return arrays, about


def _digest(arrays: Mapping[str, np.ndarray], text: str) -> str:
    found = hashlib.blake2b(text.encode(), digest_size=16)
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype} {array.shape}".encode())
        found.update(array.data)
    return found.hexdigest()
