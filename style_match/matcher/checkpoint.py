"""The backbone of a matcher: the same files that it was trained on, wherever they lie."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from style_match.backbone.checkpoint import check_checkpoint, processing_files, weight_files
from style_match.errors import UserError
from style_match.features.identity import Checkpoint, Hashes, resolve_checkpoint
from style_match.matcher.folder import MatcherFolder

REMEDY = "In Python: StyleMatcher.from_pretrained(FOLDER, backbone=PLACE)."


def hashes_of(checkpoint: Checkpoint, hashes: Hashes) -> dict[str, str]:
    """File name -> sha256 (hex) of every file of a checkpoint that decides a vector."""
    files = (*weight_files(checkpoint.folder), *processing_files(checkpoint.folder))
    return {path.name: hashes.sha256(path.resolve()) for path in files}


def find_backbone(folder: MatcherFolder, path: str | None, hashes: Hashes) -> Checkpoint:
    """The checkpoint at `path`, or where the matcher's own was: `package:`, a folder, or a hub id.

    A hub id is asked for at the commit of training, from the local cache first.

    Raises:
        UserError: it is not to be had, or is another than the matcher was trained on.
    """
    own = folder.about["backbone"]
    revision = own["revision"] if path in (None, own["path"]) else None
    place = str(path) if path is not None else own["path"]
    if path is None and Path(place).is_absolute() and not Path(place).is_dir():
        raise UserError(
            f"{folder.path} was trained on the backbone {own['name']} in {place}, which is not there any more. Name "
            f"its place by backbone.path=FOLDER. {REMEDY}"
        )
    try:
        checkpoint = resolve_checkpoint(place, revision, download=True)
    except UserError as error:
        raise UserError(f"{error} {REMEDY}") from error
    check_checkpoint(checkpoint.folder)
    if others := _others(own["files"], hashes_of(checkpoint, hashes)):
        raise UserError(
            f"The matcher {folder.path} was trained on the backbone {_name(own)}; {place} is another one: {others}. "
            f"Name a place of that backbone by backbone.path=PLACE. {REMEDY}"
        )
    return checkpoint


def _others(wanted: Mapping[str, str], found: Mapping[str, str]) -> str:
    """Which files differ, in words; nothing where none does."""
    names = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    said = [f"{name} is {found.get(name, 'missing')[:12]}, not {wanted.get(name, 'there')[:12]}" for name in names]
    return "; ".join(said[:2]) + (f" and {len(said) - 2} more" if len(said) > 2 else "")


def _name(backbone: Mapping[str, Any]) -> str:
    revision = f", revision {backbone['revision']}" if backbone["revision"] else ""
    return f"{backbone['name']} ({backbone['path']}{revision})"
