"""Sources without a table: a folder of photos, or one folder for each class."""

from collections import Counter
from pathlib import Path

from style_match.data.faults import Faults
from style_match.data.metadata import FILE_NAME, TABLE_NAME, names_photos
from style_match.labeler.audit import FOLDER as AUDIT
from style_match.labeler.ledger import FILE_NAME as LEDGER
from style_match.labeler.photos import find_photos, said_system
from style_match.labeler.written import DRY_RUN, OWN_FILES, is_dry_run
from style_match.preparation.labels import image_keys, split_folders
from style_match.preparation.source import SPLIT_WORDS, Columns, Source, SourcePhoto, check_ids, to_split

REMEDY_OF_LINKS = "copy what it leads to, or name a folder that holds that with image_root=FOLDER"
REMEDY = "rename one, or take whole paths for ids with ids=path"
TABLES = ("couples.csv", "couples.parquet", "metadata.jsonl")  # are read as what they are


def read_photos(root: Path, columns: Columns, ids: str, image_root: Path | None, faults: Faults) -> Source:
    """Every photo below `root`; its id is its file's stem, or with `ids="path"` its path.

    A path is written without its ending, but where it would name two photos. Where folders of splits have metadata of
    their own, each photo has its folder's split.
    """
    photos, notes = _find(root, columns, ids, image_root, faults)
    header: tuple[str, ...] = ()
    if splits := split_folders(root, image_keys(columns)):
        header = ("split",)
        for photo in photos:
            top, *below = photo.image.split("/")
            photo.columns["split"] = to_split(top)
            if not below or top.lower() not in SPLIT_WORDS:
                what = f"lies in no folder of a split, as {', '.join(splits)} are; move it into one"
                faults.add(what, file=photo.image)
        for split in sorted({*SPLIT_WORDS.values()} - {photo.columns["split"] for photo in photos}):
            faults.add(f"no photo is in a folder {split}; move a part of another split, with its metadata, into one")
        notes.append(f"split: as the folders {', '.join(splits)} say")
    check_ids(photos, faults, remedy=REMEDY)
    return Source(root, "tables", tuple(photos), header, tuple(notes))


def read_classes(root: Path, columns: Columns, ids: str, image_root: Path | None, faults: Faults) -> Source:
    """CLASS/PHOTO, or SPLIT/CLASS/PHOTO where all folders at the top are called train, val (or validation), test."""
    found, notes = _find(root, columns, ids, image_root, faults)
    tops = {photo.image.split("/")[0] for photo in found if "/" in photo.image}
    are_splits = bool(tops) and all(top.lower() in SPLIT_WORDS for top in tops)
    header = (columns.to_label, *(["split"] if are_splits else []))
    photos = []
    for photo in found:
        parts = photo.image.split("/")
        if len(parts) < 2 + are_splits:
            faults.add("lies in no class folder; move it into one or give kind=tables", file=photo.image)
            continue
        values = [parts[are_splits], *([to_split(parts[0])] if are_splits else [])]
        cells = dict(zip(header, values, strict=True))
        photos.append(SourcePhoto(photo.profile_id, photo.image, photo.file, 0, cells, path=photo.path))
    if are_splits:
        notes.append(f"split: as the folders {', '.join(sorted(tops))} say")
    check_ids(photos, faults, remedy=REMEDY)
    return Source(root, "classes", tuple(photos), header, tuple(notes))


def _find(
    root: Path, columns: Columns, ids: str, image_root: Path | None, faults: Faults
) -> tuple[list[SourcePhoto], list[str]]:
    """Photos below `root` by their paths, and what is said about the other files."""
    own = [root / name for name in TABLES]
    keys = image_keys(columns)
    own += [root / split / FILE_NAME for split in split_folders(root, keys)]
    tables = [root / split / TABLE_NAME for split in ("", *split_folders(root, keys))]
    own += [table for table in tables if names_photos(table, keys)]
    if (root / LEDGER).is_file():
        own += [root / name for name in (*OWN_FILES, AUDIT)]
    if is_dry_run(root / DRY_RUN):
        own.append(root / DRY_RUN)
    found = find_photos(
        root, None, skip=own, max_faults_shown=faults.max_shown, image_root=image_root, remedy=REMEDY_OF_LINKS
    )
    stems = Counter(image.rpartition(".")[0] for image in found.photos)
    photos = []
    for image, path in found.photos.items():
        stem = image.rpartition(".")[0]
        if ids == "path":
            name = image if stems[stem] > 1 or stem in found.photos else stem
        else:
            name = stem.rpartition("/")[2]
        photos.append(SourcePhoto(name, image, image, 0, {}, path=path))
    notes = [said_system(found.num_system)] if found.num_system else []
    if found.num_other:
        num = f"{found.num_other} files that are no photos are" if found.num_other > 1 else "1 file that is no photo is"
        notes.append(f"{num} passed over")
    if found.table is not None:
        notes.append(f"{found.table.path} lies above the source and is not read: give source={found.table.path.parent}")
    return photos, notes
