"""From `cfg.index` to an index that holds the profiles of a dataset folder."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from style_match.index import folder as folders
from style_match.index.base import Cells, Index, NoIndex
from style_match.index.known import DEFAULT_ROOT, real, remember
from style_match.inputs import cache_root
from style_match.progress import say

if TYPE_CHECKING:
    from omegaconf import DictConfig


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
    with folders.alone(folder):
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
        options: dict[str, Any] = folders.read_manifest(folder)["options"]
    except NoIndex:
        return None
    return options
