"""From `cfg.index` to an index of a dataset folder, and the list of all stored indexes, which `forget` needs."""

import hashlib
import importlib
import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hydra.utils import instantiate
from omegaconf import DictConfig

from style_match.serving.index.base import Cells, Index
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root, hold, write_whole
from style_match.utils.progress import say

DEFAULT_ROOT, KNOWN, LOCK = "indexes", "known.json", ".lock"


def open_or_build(
    cfg: DictConfig,
    data_root: str | Path,
    ids: Sequence[str],
    vectors: np.ndarray,
    cells: Sequence[Cells] | None,
    matcher: str,
) -> Index:
    """Make the index that a config describes; one that is stored is updated to hold exactly these profiles.

    Args:
        cfg: A group of `conf/index`.
        data_root: The dataset folder.
        ids, vectors, cells, matcher: See `Index.build`.

    Raises:
        UserError: The index is in use or cannot be written, or its server cannot be reached.
    """
    importlib.import_module(cfg._target_.rpartition(".")[0])  # `instantiate` would hide that an extra is missing
    index: Index = instantiate(cfg)
    if not index.is_stored:
        index.build(ids, vectors, cells, matcher)
        return index
    folder = folder_of(index, data_root, matcher)
    with _locked(folder):
        _register(Known(folder.resolve(), _real(data_root), **index.server(folder)))
        done = index.build(ids, vectors, cells, matcher, folder=folder)
    recall = index.recall
    measured = f", recall@{recall['k']} {100 * recall['value']:.1f} % when built" if recall else ""
    say(f"index: {index.kind}, {len(index)} profiles, {done}{measured} ({folder})")
    return index


def folder_of(index: Index, data_root: str | Path, matcher: str) -> Path:
    """Folder of a stored index: one for each pair of dataset folder and matcher, and in it one for each kind."""
    root = Path(index.root).expanduser() if index.root else cache_root() / DEFAULT_ROOT
    data = hashlib.sha256(str(_real(data_root)).encode("utf-8", "surrogateescape")).hexdigest()
    return root / f"{matcher[:16]}-{data[:16]}" / index.folder_name


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make the folder if needed, and keep other processes from changing its index."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = hold(folder / LOCK, wait=True)
        assert lock is not None
        with lock:
            yield
    except OSError as error:
        raise UserError(
            f"The index {error.filename or folder} cannot be written: {error.strerror or error}. Free some space or "
            "choose another folder with index.root=FOLDER."
        ) from error


# The list of stored indexes


@dataclass(frozen=True)
class Known:
    """An index: its folder, the dataset folder of its profiles, and its collection if it is on a server."""

    folder: Path
    data_root: Path
    url: str | None = None
    collection: str | None = None


def known_indexes() -> list[Known]:
    """Return all indexes ever stored through this cache; a folder may be missing, or on a disk that is not mounted.

    Raises:
        UserError: The list is damaged.
    """
    path = cache_root() / DEFAULT_ROOT / KNOWN
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [
            Known(Path(folder), **{**about, "data_root": Path(about["data_root"])}) for folder, about in entries.items()
        ]
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}, the list of all indexes, cannot be read ({type(error).__name__}). Delete it and the folders of "
            "indexes, those beside it and those named with index.root; they are rebuilt when needed."
        ) from error


def _register(new: Known) -> None:
    """Put an index on the list, before anything is written to it."""
    path = cache_root() / DEFAULT_ROOT / KNOWN
    with _locked(path.parent):
        known = {each.folder: each for each in known_indexes()}
        if known.get(new.folder) != new:
            known[new.folder] = new
            entries = {
                str(each.folder): {"data_root": str(each.data_root), "url": each.url, "collection": each.collection}
                for each in known.values()
            }
            write_whole(path, json.dumps(entries, indent=2) + "\n")


def delete_everywhere(data_root: str | Path, profile_ids: Collection[str]) -> list[str]:
    """Delete profiles from every stored index of a dataset folder.

    On a server the profiles are deleted from their collection. Other indexes are deleted with all their files.

    Returns:
        A line for each index: what was deleted, or `NOT deleted`, why, and a remedy.
    """
    lines = []
    for known in _of_data(data_root):
        if line := _absent(known):
            lines.append(line)
            continue
        try:
            lines.append(f"{known.folder}: {_delete(known, profile_ids)}")
        except UserError as error:
            lines.append(f"{known.folder}: NOT deleted: {error}")
    return lines


def absent(data_root: str | Path) -> list[str]:
    """Return a line for each index of a dataset folder that is missing but may be on a disk that is not mounted.

    Raises:
        UserError: The list of indexes is damaged.
    """
    return [line for known in _of_data(data_root) if (line := _absent(known))]


def _of_data(data_root: str | Path) -> list[Known]:
    return [known for known in known_indexes() if known.data_root == _real(data_root)]


def _absent(known: Known) -> str | None:
    if known.url or known.folder.is_dir() or known.folder.is_relative_to(cache_root().resolve()):
        return None
    return f"{known.folder}: it does not exist; if its disk is not mounted, mount it and repeat this"


def _delete(known: Known, profile_ids: Collection[str]) -> str:
    """Delete profiles from a collection on a server, or an index; return what was done."""
    if known.url:
        from style_match.serving.index.qdrant import delete_profiles  # needs its extra

        num = delete_profiles(known.url, known.collection or "", profile_ids)
        return f"{num} profiles deleted from {known.collection} at {known.url}"
    if not known.folder.is_dir():
        return "it was deleted before"
    with _locked(known.folder):
        for path in known.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
    return "deleted; it is rebuilt when it is needed"


def _real(folder: str | Path) -> Path:
    return Path(folder).expanduser().resolve()
