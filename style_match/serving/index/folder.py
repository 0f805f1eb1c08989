"""From `cfg.index` to an index of a dataset folder, and the list of all stored indexes, which `forget` needs."""

import hashlib
import importlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from style_match.serving.index import storage
from style_match.serving.index.base import Cells, Index
from style_match.serving.index.storage import STORAGE, NoIndex, Unusable, locked
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root, write_whole
from style_match.utils.progress import say

if TYPE_CHECKING:
    from omegaconf import DictConfig

DEFAULT_ROOT, KNOWN = "indexes", "known.json"
KINDS = {"exact": "exact.Exact", "faiss-flat": "faiss.Flat", "faiss-hnsw": "faiss.HNSW", "qdrant": "qdrant.Qdrant"}


def open_or_build(
    cfg: "DictConfig",
    data_root: str | Path,
    ids: Sequence[str],
    vectors: np.ndarray,
    payload: Sequence[Cells] | None,
    matcher: str,
) -> Index:
    """The stored index of a dataset folder and a matcher, updated to hold exactly these profiles.

    Args:
        cfg: a group of `conf/index`.
        data_root: the dataset folder.
        ids, vectors, payload, matcher: see `Index.build`.

    Raises:
        UserError: it is in use or cannot be written, or the server cannot be reached.
    """
    from hydra.utils import instantiate

    importlib.import_module(cfg._target_.rpartition(".")[0])  # else `instantiate` hides that an extra is missing
    index: Index = instantiate(cfg)
    folder = folder_of(index, data_root, matcher)
    with locked(folder):
        _register(folder, data_root)
        change = _update(index, folder, ids, vectors, payload, matcher)
    recall = index.recall
    measured = f", recall@{recall['k']} {100 * recall['value']:.1f} % when built" if recall else ""
    say(f"index: {index.kind}, {len(index)} profiles, {change}{measured} ({folder})")
    return index


def folder_of(index: Index, data_root: str | Path, matcher: str) -> Path:
    """Where the index is stored: a folder for each pair of dataset folder and matcher, in it one for each kind."""
    root = Path(index.root).expanduser() if index.root else cache_root() / DEFAULT_ROOT
    data = hashlib.sha256(str(_real(data_root)).encode("utf-8", "surrogateescape")).hexdigest()
    return root / f"{matcher[:16]}-{data[:16]}" / index.folder_name


def _update(
    index: Index, folder: Path, ids: Sequence[str], vectors: np.ndarray, payload: Sequence[Cells] | None, matcher: str
) -> str:
    """Open and update, or build; returns what was done, in words."""
    try:
        index.open(folder, matcher=matcher)
        if index.dim != vectors.shape[1]:
            raise Unusable(f"vectors had {index.dim} dimensions")
        changes = index.update(ids, vectors, payload)
        if index.rebuild_reason:
            raise Unusable(index.rebuild_reason)
        if changes or _stored_options(folder) != index.options:
            index.save(folder)
        return changes or "up to date"
    except NoIndex:
        done = "built"
    except Unusable as error:
        done = f"rebuilt: {error}"
    index.build(ids, vectors, payload, matcher, folder=folder)
    return done


def _stored_options(folder: Path) -> dict[str, Any] | None:
    """None if the index is on a server and was built by another machine."""
    try:
        return storage.read_manifest(folder).options
    except NoIndex:
        return None


# The list of stored indexes


@dataclass(frozen=True)
class Known:
    """An index: its folder, and the dataset folder of its profiles."""

    folder: Path
    data_root: Path


def known_indexes() -> list[Known]:
    """All indexes ever stored through this cache; a folder may be gone, or on a disk that is not mounted.

    Raises:
        UserError: the list is damaged.
    """
    path = _list_of_indexes()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [Known(Path(folder), Path(about["data_root"])) for folder, about in entries.items()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}, the list of all indexes, cannot be read ({type(error).__name__}). Delete it and the folders of "
            "indexes, those beside it and those named with index.root; they are rebuilt when needed."
        ) from error


def _register(folder: Path, data_root: str | Path) -> None:
    """Put an index on the list, before anything is written to it."""
    path = _list_of_indexes()
    with locked(path.parent):
        known, new = known_indexes(), Known(folder.resolve(), _real(data_root))
        if new not in known:
            entries = {str(one.folder): {"data_root": str(one.data_root)} for one in [*known, new]}
            write_whole(path, json.dumps(entries, indent=2) + "\n")


def delete_everywhere(data_root: str | Path, profile_ids: Collection[str]) -> list[str]:
    """Delete profiles from every index of a dataset folder; an index that cannot be read is deleted with all its files.

    Returns:
        a line for each index: what was deleted, or `NOT deleted`, why, and what to do.
    """
    lines = []
    for known in _of_data(data_root):
        if known.folder.is_dir():
            try:
                with locked(known.folder):
                    lines.append(f"{known.folder}: {_delete(known.folder, profile_ids)}")
            except NoIndex:
                continue  # its first writer was killed, so it holds nobody
            except UserError as error:
                lines.append(f"{known.folder}: NOT deleted: {error}")
        elif line := _absent(known):
            lines.append(line)
    return lines


def absent(data_root: str | Path) -> list[str]:
    """A line for each index of a dataset folder that is missing but may be on a disk that is not mounted.

    Raises:
        UserError: the list of indexes is damaged.
    """
    return [line for known in _of_data(data_root) if (line := _absent(known))]


def _of_data(data_root: str | Path) -> list[Known]:
    return [known for known in known_indexes() if known.data_root == _real(data_root)]


def _absent(known: Known) -> str | None:
    if known.folder.is_dir() or known.folder.is_relative_to(cache_root().resolve()):
        return None
    return f"{known.folder}: it is not there; if its disk is only not mounted, mount it and repeat this"


def _delete(folder: Path, profile_ids: Collection[str]) -> str:
    """Returns what was done, in words."""
    try:
        storage.remove_leftovers(folder)  # they may hold the profiles
        manifest = storage.read_manifest(folder)
        module, _, name = KINDS[manifest.kind].partition(".")
        kind = getattr(importlib.import_module(f"style_match.serving.index.{module}"), name)
        index: Index = kind(root=None, **manifest.options)
        try:
            index.open(folder, matcher=None)
            count = index.delete(profile_ids)
            if count:
                index.save(folder)
        finally:
            index.close()
        return f"{count} profiles deleted"
    except (UserError, NoIndex):
        raise
    except Exception:  # files that are damaged or of another version may raise anything
        return _delete_all(folder)


def _delete_all(folder: Path) -> str:
    """Delete the files of an index that cannot be read; the next command that needs it rebuilds it.

    Raises:
        UserError: other files are left, or its points are on a server whose address is unknown.
    """
    is_on_server = folder.name.startswith("qdrant-") and not (folder / STORAGE).is_dir()
    if left := storage.remove_files(folder):
        raise UserError(f"it cannot be read; its files are deleted, but not {', '.join(left)}: delete {folder}")
    if is_on_server:
        raise UserError(
            "it cannot be read, so its server is not known: delete its collection there, named "
            f"style_match-{folder.parent.name} unless index.collection was set"
        )
    return "the whole index is deleted, because it cannot be read; it is rebuilt when it is needed"


def _real(folder: str | Path) -> Path:
    return Path(folder).expanduser().resolve()


def _list_of_indexes() -> Path:
    return cache_root() / DEFAULT_ROOT / KNOWN
