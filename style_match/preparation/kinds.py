"""Which kind of source a path is, and its photos."""

import os
from collections.abc import Callable
from pathlib import Path

from style_match.data.faults import Faults
from style_match.data.metadata import IMAGE_KEYS
from style_match.errors import UserError
from style_match.labeler.photos import SUFFIXES, is_photo, is_system
from style_match.preparation.labels import has_metadata, split_folders
from style_match.preparation.source import Columns, Source

KINDS = ("tables", "classes", "parquet", "huggingface")


def read_source(
    root: Path, *, kind: str, columns: Columns, image_root: Path | None, ids: str, faults: Faults
) -> Source:
    """The photos of a source; what is wrong with it goes to `faults`.

    Raises:
        UserError: nothing of the kind is there, or `kind=auto` does not tell which it is.
    """
    if not root.exists():
        raise UserError(f"source={root}: there is no such folder; give the folder that holds the photos or their table")
    kind = detect(root) if kind == "auto" else kind
    if kind == "huggingface":
        from style_match.preparation.huggingface import read_huggingface

        return read_huggingface(root, columns, image_root, faults)
    if kind == "parquet":
        from style_match.preparation.parquet import read_parquet

        return read_parquet(root, columns, image_root, faults)
    if not root.is_dir():
        raise UserError(f"source={root}: is a file; kind={kind} needs a folder")
    if not has_table(root) and not _has_photos(root):
        raise UserError(f"source={root}: no photo is below it; give the folder that holds the photos")
    if kind == "classes":
        from style_match.preparation.folders import read_classes

        return read_classes(root, columns, ids, image_root, faults)
    if has_table(root):
        from style_match.preparation.tables import read_tables

        return read_tables(root, columns, image_root, faults)
    from style_match.preparation.folders import read_photos

    return read_photos(root, columns, ids, image_root, faults)


def detect(root: Path) -> str:
    """The one kind that the content of `root` fits.

    Raises:
        UserError: none or several.
    """
    if root.is_file():
        if root.suffix == ".parquet":
            return "parquet"
        raise UserError(f"source={root}: is a file that is no .parquet; give the folder that holds the photos")
    tests: dict[str, Callable[[], bool]] = {
        "tables": lambda: has_table(root) or (_has_photos(root) and not _are_classes(root)),
        "classes": lambda: not has_table(root) and _are_classes(root),
        "parquet": lambda: not has_table(root) and bool(parquet_files(root)),
        "huggingface": lambda: any((root / name).is_file() for name in ("dataset_dict.json", "state.json")),
    }
    fitting = [kind for kind in KINDS if tests[kind]()]
    if len(fitting) == 1:
        return fitting[0]
    choices = ", ".join(f"kind={kind}" for kind in fitting or KINDS)
    if not fitting:
        raise UserError(
            f"source={root}: holds no photos (files ending in {', '.join(SUFFIXES)}), no profiles.csv, no *.parquet "
            f"and no dataset of the `datasets` library. Give another folder, or say what it is: {choices}."
        )
    raise UserError(f"source={root}: may be read in {len(fitting)} ways. Say which: {choices}.")


def has_table(root: Path) -> bool:
    return any((root / f"profiles{suffix}").exists() for suffix in (".csv", ".parquet"))


def parquet_files(root: Path) -> list[Path]:
    """Parquet files at the top or in data/, as the hub lays them out; couples.parquet is none of them."""
    if root.is_file():
        return [root]
    found = sorted(root.glob("*.parquet")) or sorted((root / "data").glob("*.parquet"))
    return [path for path in found if path.stem != "couples"]


def _has_photos(root: Path) -> bool:
    for _, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and not is_system(name)]
        if any(map(is_photo, names)):
            return True
    return False


def _are_classes(root: Path) -> bool:
    """Photos in two folders or more, none beside them, and no metadata that would name them by their paths."""
    if any(is_photo(path.name) for path in root.iterdir()) or has_metadata(root, IMAGE_KEYS):
        return False
    if split_folders(root, IMAGE_KEYS):
        return False
    folders = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    folders = [path for path in folders if not is_system(path.name)]
    return sum(_has_photos(folder) for folder in folders) >= 2
