"""From `cfg.index` to an index that holds the profiles of a dataset folder."""

import hashlib
import importlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from style_match.cli.run_config import current_name
from style_match.serving.index.base import Cells, Index
from style_match.serving.index.storage import STORAGE, NoIndex, Unreadable, alone, read_manifest, remove_files, tidy
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root, write_whole
from style_match.utils.progress import say

if TYPE_CHECKING:
    from omegaconf import DictConfig


# The folder of a saved index: files that are never changed, named by a manifest that is replaced at once.
#
# Every file carries its digest in its name. The manifest tells which ones belong together and carries its own digest,
# so that whatever moment a process is killed at, a reader finds the index before or the one after, and a flipped byte
# is noticed.


# Which indexes there are, wherever they lie, so that a person can be deleted from all of them.


OWN = "style_match.serving.index."  # the only package whose classes a manifest may name
DEFAULT_ROOT, KNOWN = "indexes", "known.json"


@dataclass(frozen=True)
class Known:
    """An index: its folder, the dataset folder that its profiles are of, and the identity of its matcher."""

    folder: Path
    data_root: Path
    matcher: str


def known_indexes() -> list[Known]:
    """All that were ever made through this cache root; a folder may be gone, or on a disk that is not mounted.

    Raises:
        UserError: the list of them is damaged.
    """
    path = _list_of_indexes()
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [Known(Path(one), Path(of["data_root"]), of["matcher"]) for one, of in entries.items()]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, AttributeError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}, the list of all indexes, cannot be read ({type(error).__name__}): delete it, and the folders of "
            f"indexes too, those beside it and those that were named with index.root; they are built anew."
        ) from error


def real(folder: str | Path) -> Path:
    """A dataset folder by the one name that stands for it."""
    return Path(folder).expanduser().resolve()


def remember(folder: Path, data_root: str | Path, matcher: str) -> None:
    """Put an index on the list, before anything is written to it."""
    path = _list_of_indexes()
    with alone(path.parent):
        known = {one.folder: one for one in known_indexes()}
        new = Known(folder.resolve(), real(data_root), matcher)
        if known.get(new.folder) != new:
            known[new.folder] = new
            entries = {
                str(one.folder): {"data_root": str(one.data_root), "matcher": one.matcher} for one in known.values()
            }
            write_whole(path, json.dumps(entries, indent=2) + "\n")


def delete_everywhere(data_root: str | Path, profile_ids: Collection[str]) -> list[str]:
    """Delete profiles from every index of a dataset folder; an index that cannot be read is deleted with all its files.

    Returns:
        a line for each index: what was deleted, or `NOT deleted`, why, and what is to be done.
    """
    lines = []
    for known in known_indexes():
        if known.data_root != real(data_root):
            continue
        if known.folder.is_dir():
            try:
                with alone(known.folder):
                    lines.append(f"{known.folder}: {_delete(known.folder, profile_ids)}")
            except NoIndex:
                continue  # its first writer was killed, so it holds nobody
            except UserError as error:
                lines.append(f"{known.folder}: NOT deleted: {error}")
        elif line := _absent(known):
            lines.append(line)
    return lines


def absent(data_root: str | Path) -> list[str]:
    """A line for each index of a dataset folder whose own folder is not there, but may be on a disk that is missing.

    Raises:
        UserError: the list of indexes is damaged.
    """
    of_data = [known for known in known_indexes() if known.data_root == real(data_root)]
    return [line for known in of_data if (line := _absent(known))]


def _absent(known: Known) -> str | None:
    if known.folder.is_dir() or known.folder.is_relative_to(cache_root().resolve()):
        return None
    return f"{known.folder}: it is not there; if its disk is only not mounted, mount it and repeat this"


def _delete(folder: Path, profile_ids: Collection[str]) -> str:
    """What was done, in words."""
    try:
        tidy(folder)  # a killed writer's files may hold them
        index = _made_by(folder, read_manifest(folder))
        try:
            index.open(folder, matcher=None)
            count = index.delete(profile_ids)
            if count:
                index.save(folder)
        finally:
            index.close()
        return f"{count} profiles deleted"
    except Unreadable:
        return _delete_all(folder)
    except UserError:
        raise
    except Exception:  # whatever files of another version may raise
        return _delete_all(folder)


def _delete_all(folder: Path) -> str:
    """Delete the files of an index that cannot be read; the next command that needs it builds it again.

    Raises:
        UserError: other files are left, or its points are on a server that nothing tells any more.
    """
    is_on_server = folder.name.startswith("qdrant-") and not (folder / STORAGE).is_dir()
    left = remove_files(folder)
    if left:
        raise UserError(f"it cannot be read; its files are deleted, but not {', '.join(left)}: delete {folder}")
    if is_on_server:
        raise UserError(
            "it cannot be read, so its server is not known: delete its collection there, called "
            f"style_match-{folder.parent.name} unless index.collection named another"
        )
    return "the whole index is deleted, because it cannot be read; it is built again when it is needed"


def _made_by(folder: Path, manifest: dict) -> Index:
    """The index that wrote a manifest, to be opened.

    Raises:
        UserError: it is not one of this package's.
    """
    module, _, name = current_name(manifest["made_by"]).rpartition(".")
    if not module.startswith(OWN):
        raise UserError(f"it was made by {manifest['made_by']}, which is not of this package: delete {folder} by hand.")
    made: Index = getattr(importlib.import_module(module), name)(root=None, **manifest["options"])
    return made


def _list_of_indexes() -> Path:
    return cache_root() / DEFAULT_ROOT / KNOWN


def open_or_build(
    cfg: "DictConfig",
    data_root: str | Path,
    ids: Sequence[str],
    vectors: np.ndarray,
    payload: Sequence[Cells] | None,
    matcher: str,
) -> Index:
    """The index of a dataset folder and a matcher, brought up to date with these profiles; it is said what was done.

    Args:
        cfg: a group of `conf/index`.
        data_root: the dataset folder.
        ids, vectors, payload, matcher: as of `Index.build`: all the profiles that it is to hold.
    Raises:
        UserError: it is damaged, of a newer format, in use, or cannot be written; the server cannot be reached.
    """
    from hydra.utils import instantiate

    index: Index = instantiate(cfg)
    folder = folder_of(index, data_root, matcher)
    with alone(folder):
        remember(folder, data_root, matcher)
        what = _changed(index, folder, ids, vectors, payload, matcher)
    recall = getattr(index, "recall", None)
    found = f", recall@{recall['k']} {100 * recall['value']:.1f} % when built" if recall else ""
    say(f"index: {index.kind}, {len(index)} profiles, {what}{found} ({folder})")
    return index


def folder_of(index: Index, data_root: str | Path, matcher: str) -> Path:
    """Where the index of a dataset folder and a matcher is kept: a folder for each pair, in it one for each kind."""
    root = Path(index.root).expanduser() if index.root else cache_root() / DEFAULT_ROOT
    of = hashlib.sha256(str(real(data_root)).encode("utf-8", "surrogateescape")).hexdigest()
    return root / f"{matcher[:16]}-{of[:16]}" / index.place


def _changed(
    index: Index, folder: Path, ids: Sequence[str], vectors: np.ndarray, payload: Sequence[Cells] | None, matcher: str
) -> str:
    """Open and bring up to date, or build; what was done, in words."""
    was = _options_before(folder)
    other = next((name for name in index.built_with if was and was[name] != index.options[name]), None)
    why = f"index.{other} was {was[other]}" if was and other else None
    if why is None:
        try:
            index.open(folder, matcher=matcher)
            if index.dim != vectors.shape[1]:
                why = f"vectors were {index.dim} wide"
        except NoIndex:
            why = ""
    if why is None:
        changes = index.bring_up_to_date(ids, vectors, payload)
        if (why := index.due) is None:
            if changes or was != index.options:
                index.save(folder)
            return str(changes) if changes else "up to date"
    index.build(ids, vectors, payload, matcher, folder=folder)
    return f"built anew: {why}" if why else "built"


def _options_before(folder: Path) -> dict[str, Any] | None:
    """Those that the index in a folder was saved with; None: there is none."""
    try:
        options: dict[str, Any] = read_manifest(folder)["options"]
    except NoIndex:
        return None
    return options
