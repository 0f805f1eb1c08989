"""Read the photos of a source: a table, plain or class folders, Parquet files, or a `datasets` folder."""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.compute as pc
from pyarrow import ArrowException, null, parquet, types

from style_match.data.image_paths import ImagePaths, is_absent
from style_match.data.metadata import FILE_NAME, IMAGE_KEYS, TABLE_NAME, names_photos
from style_match.data.records import LEFT_OUT, Faults, has_control_character, nearest
from style_match.data.tables import MOST_NAMES, as_text, is_text, read_table, rounded, rounded_ids_fault
from style_match.labeling.ledger import FILE_NAME as LEDGER
from style_match.labeling.outputs import own_files
from style_match.labeling.photos import SUFFIXES, find_photos, is_photo, is_system, system_folders_note
from style_match.utils.errors import UserError
from style_match.utils.text import cut, plain, shown

KINDS = {
    "tables": "photos, with their table if there is one",
    "classes": "one folder per class",
    "parquet": "Parquet rows with images",
    "huggingface": "a dataset of the `datasets` library",
}
DRAW_SPLIT = "set columns.split=null to draw a new split"
SPLIT_NAMES = {"train": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val", "test": "test"}


@dataclass(frozen=True)
class SourcePhoto:
    """One photo of a source.

    Attributes:
        image: its name in the source, which metadata uses too.
        place: where the source names it, for messages: "profiles.csv, line 3", or the photo's own path.
        columns: further cells, as text.
        path: its file; None if `blob` returns its bytes.
        metadata: its object in metadata.jsonl, if any.
        label_places: attribute -> line of the metadata that it comes from.
    """

    profile_id: str
    image: str
    place: str
    columns: dict[str, str]
    path: Path | None = None
    blob: Callable[[], bytes] = bytes
    metadata: dict[str, Any] | None = None
    label_places: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """Return its bytes, b"" if the source has none. Raises OSError."""
        return self.path.read_bytes() if self.path is not None else self.blob()


@dataclass(frozen=True)
class Source:
    """All photos, in the order of the source.

    Attributes:
        header: names of the further columns.
        table: file that lists the photos, "" if the files themselves are all there is.
        notes: sentences for the user.
    """

    root: Path
    kind: str
    photos: tuple[SourcePhoto, ...]
    header: tuple[str, ...]
    table: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """Column names of the source.

    Attributes:
        to_label: the new name of the label column.
        split: the column with the split of each row, or None: splits of the source, also those that folders and files
            are named after, are ignored.
    """

    profile_id: str
    image: str
    label: str
    to_label: str
    split: str | None = "split"

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Keys of metadata that may name a photo: the configured one, then the usual ones."""
        return tuple(dict.fromkeys((self.image, *IMAGE_KEYS)))

    def renamed(self, record: Mapping[str, str]) -> dict[str, str]:
        """Return the further cells of a row under their new names, with the split in our terms."""
        own = (self.profile_id, self.image, *([] if self.split else ["split"]))
        renamed = {self.label: self.to_label, self.split: "split"}
        cells = {renamed.get(name, name): cell for name, cell in record.items() if name not in own}
        return {name: to_split(cell) if name == "split" else cell for name, cell in cells.items()}

    def check(self, header: Sequence[str], file: str, faults: Faults) -> None:
        """Add a fault if a renamed column collides with another one."""
        for option in ("profile_id", "image", "label", "split"):
            given = getattr(self, option)
            name = self.to_label if option == "label" else option
            if given and given != name and given in header and name in header:
                what = f"{shown(name)} exists beside {shown(given)}; remove one, or drop columns.{option}={given}"
                faults.add(what, file=file, column=name)


def to_split(name: str) -> str:
    """Map a source's split name to train, val or test; unknown names stay, and are reported when the table is read."""
    return SPLIT_NAMES.get(name.lower(), name)


def read_source(
    root: Path, *, kind: str, columns: Columns, image_root: Path | None, ids: str, faults: Faults
) -> Source:
    """Read the photos of a source; mistakes in it are added to `faults`.

    Args:
        kind: one of `KINDS`, or "auto".
        image_root: folder that images, links and stored paths are relative to or may lead into.
        ids: profile ids of photos without a table: "stem" of the file name, or "path".

    Raises:
        UserError: nothing of this kind is there, or several kinds fit with `kind="auto"`.
    """
    if not root.exists():
        raise UserError(f"source={root}: there is no such folder; give the folder that holds the photos or their table")
    kind = detect(root) if kind == "auto" else kind
    if kind == "huggingface":
        return _read_rows(root, kind, _dataset_parts(root, columns, faults), columns, image_root, faults)
    if kind == "parquet":
        return _read_rows(root, kind, _parquet_parts(root), columns, image_root, faults)
    if not root.is_dir():
        raise UserError(f"source={root} is a file; kind={kind} needs a folder")
    if kind == "tables" and _has_table(root):
        return _read_table(root, columns, image_root, faults)
    if not _has_photos(root):
        raise UserError(f"source={root} contains no photos; give the folder that holds the photos")
    return _read_photos(root, columns, ids, image_root, faults, has_classes=kind == "classes")


def detect(root: Path) -> str:
    """Return the only kind that fits the content of `root`.

    Raises:
        UserError: none or several fit.
    """
    if root.is_file():
        if root.suffix == ".parquet":
            return "parquet"
        raise UserError(f"source={root} is a file but not .parquet; give the folder that holds the photos")
    has_table = _has_table(root)
    has_classes = not has_table and _has_class_folders(root)
    fits = {
        "tables": has_table or (not has_classes and _has_photos(root)),
        "classes": has_classes,
        "parquet": not has_table and bool(_parquet_files(root)),
        "huggingface": any((root / name).is_file() for name in ("dataset_dict.json", "state.json")),
    }
    fitting = [kind for kind in KINDS if fits[kind]]
    if len(fitting) == 1:
        return fitting[0]
    choices = ", ".join(f"kind={kind}" for kind in fitting or KINDS)
    if fitting:
        raise UserError(f"source={root} can be read in {len(fitting)} ways. Choose one: {choices}.")
    raise UserError(
        f"source={root} contains no photos (files ending in {', '.join(SUFFIXES)}), no profiles.csv, no *.parquet and "
        f"no dataset of the `datasets` library. Give another folder, or set its kind: {choices}."
    )


def split_folders(root: Path, keys: Sequence[str]) -> list[str]:
    """List the folders named train, val (or validation) and test that have their own metadata (Hugging Face layout)."""
    names = sorted(path.name for path in root.iterdir() if path.name.lower() in SPLIT_NAMES and path.is_dir())
    return [name for name in names if has_metadata(root / name, keys)]


def has_metadata(folder: Path, keys: Sequence[str]) -> bool:
    """Return whether a folder has metadata that names photos by one of the keys."""
    return (folder / FILE_NAME).exists() or names_photos(folder / TABLE_NAME, keys)


def _has_table(root: Path) -> bool:
    return any((root / f"profiles{suffix}").exists() for suffix in (".csv", ".parquet"))


def _has_photos(root: Path) -> bool:
    for _, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and not is_system(name)]
        if any(map(is_photo, names)):
            return True
    return False


def _has_class_folders(root: Path) -> bool:
    """Photos in two or more folders, none beside these, and no metadata that names photos by their paths."""
    paths = [path for path in root.iterdir() if not path.name.startswith(".")]
    if any(is_photo(path.name) for path in paths) or has_metadata(root, IMAGE_KEYS) or split_folders(root, IMAGE_KEYS):
        return False
    return sum(path.is_dir() and not is_system(path.name) and _has_photos(path) for path in paths) >= 2


def _check_ids(photos: Sequence[SourcePhoto], faults: Faults, *, remedy: str, several: bool = False) -> None:
    """Faults for ids that are empty, contain control characters, or (unless `several`) belong to two photos."""
    first: dict[object, SourcePhoto] = {}
    for photo in photos:
        if not photo.profile_id:
            faults.add("the cell is missing; fill it in or remove the row", file=photo.place, column="profile_id")
            continue
        if has_control_character(photo.profile_id):
            what = f"{shown(photo.profile_id)} contains a control character"
            faults.add(what, file=photo.place, column="profile_id")
        earlier = first.setdefault((photo.profile_id, photo.image) if several else photo.profile_id, photo)
        if earlier is not photo:
            faults.add(f"{photo.image} and {earlier.image} have one id, {shown(photo.profile_id)}; {remedy}")


# A table of profiles that names image files.


def _read_table(root: Path, columns: Columns, image_root: Path | None, faults: Faults) -> Source:
    table = read_table(root, "profiles", ((columns.profile_id, columns.image),), faults)
    if table is None:
        return Source(root, "tables", (), ())
    name = table.path.name
    columns.check(table.header, name, faults)
    base = image_root or root
    images = ImagePaths(base, (root, base), root)
    photos, missing = [], []
    for row, record in table.records():
        image = record[columns.image]
        path, fault = images.find(image) if image else (None, "the cell is missing; fill it in or remove the row")
        cells = columns.renamed(record)
        if path is None and not cells.get(LEFT_OUT):  # a photo that is left out need not exist
            missing.append((table.place(row), fault.replace("data.image_root", "image_root")))
        image = str(PurePosixPath(image))
        photos.append(SourcePhoto(record[columns.profile_id], image, f"{name}, {table.place(row)}", cells, path))
    if len(missing) == len(photos) > 2 and all(is_absent(fault) for _, fault in missing):
        what = f"none of the {len(photos)} images exists below {base}; set image_root to the folder that holds them"
        faults.add(what, file=name, column=columns.image)
    else:
        for place, fault in missing:
            faults.add(fault, file=name, place=place, column=columns.image)
    _check_ids(photos, faults, remedy="the row occurs twice; remove one", several=True)
    return Source(root, "tables", tuple(photos), tuple(columns.renamed(dict.fromkeys(table.header, ""))), name)


# Photos without a table.


def _read_photos(
    root: Path, columns: Columns, ids: str, image_root: Path | None, faults: Faults, *, has_classes: bool
) -> Source:
    """Read every photo below `root`.

    With `has_classes` the layout is CLASS/PHOTO, or SPLIT/CLASS/PHOTO if all top folders have names of splits. Without,
    top folders are splits if they have their own metadata.
    """
    folders_with_metadata = split_folders(root, columns.image_keys)
    found = find_photos(
        root,
        None,
        skip=_other_files(root, folders_with_metadata, columns.image_keys),
        max_faults_shown=faults.max_shown,
        image_root=image_root,
        remedy="copy its target, or name the folder that holds it with image_root=FOLDER",
    )
    splits = folders_with_metadata
    if has_classes:
        tops = sorted({image.split("/")[0] for image in found.photos if "/" in image})
        splits = tops if all(top.lower() in SPLIT_NAMES for top in tops) else []
    photos = []
    for profile_id, (image, path) in zip(_profile_ids(found.photos, ids), found.photos.items(), strict=True):
        folders, cells = image.split("/")[:-1], {}
        if splits:
            split = folders.pop(0) if folders else ""
            if split.lower() not in SPLIT_NAMES:
                faults.add(f"is in none of the split folders {', '.join(splits)}; move it into one", file=image)
            if columns.split:
                cells["split"] = to_split(split)
        if has_classes and not folders:
            faults.add("is in no class folder; move it into one or set kind=tables", file=image)
        elif has_classes:
            cells[columns.to_label] = folders[0]
        photos.append(SourcePhoto(profile_id, image, image, cells, path))
    if splits and columns.split:
        for split in sorted({*SPLIT_NAMES.values()} - {photo.columns["split"] for photo in photos}):
            faults.add(f"no photo is in a folder {split}; move photos into one, or {DRAW_SPLIT}")
    _check_ids(photos, faults, remedy="rename one, or use paths as ids with ids=path")
    notes = [system_folders_note(found.num_system)] if found.num_system else []
    if found.num_other:
        notes.append(f"{found.num_other} file{'s' * (found.num_other > 1)} ignored: not a photo")
    if found.table is not None:
        notes.append(f"{found.table.path} is above the source and is not read: set source={found.table.path.parent}")
    if splits:
        names = ", ".join(splits)
        taken = f"split: taken from the folders {names}" if columns.split else f"the split folders {names} are ignored"
        notes.append(taken)
    header = (*([columns.to_label] if has_classes else []), *(["split"] if splits and columns.split else []))
    return Source(root, "classes" if has_classes else "tables", tuple(photos), header, notes=tuple(notes))


def _profile_ids(images: Collection[str], ids: str) -> Iterator[str]:
    """Stems of file names, or paths: without the suffix unless that names two photos."""
    stems = Counter(image.rpartition(".")[0] for image in images)
    for image in images:
        stem = image.rpartition(".")[0]
        if ids == "path":
            yield image if stems[stem] > 1 or stem in images else stem
        else:
            yield stem.rpartition("/")[2]


def _other_files(root: Path, splits: Sequence[str], keys: Sequence[str]) -> list[Path]:
    """Return files that are read as something else, or that the labeler wrote."""
    files = [root / "couples.csv", root / "couples.parquet"]
    for folder in (root, *(root / split for split in splits)):
        files += [folder / FILE_NAME, *([folder / TABLE_NAME] if names_photos(folder / TABLE_NAME, keys) else [])]
    if (root / LEDGER).is_file():  # of style_match.label
        files += [*own_files(root), root / "audit"]
    return files


# Rows with image bytes, image paths, or both in a {bytes, path} struct, as Hugging Face stores them.


class _ParquetRows:
    """One Parquet file; keeps the last row group in memory, so that reading in order reads each group once."""

    def __init__(self, path: Path):
        self._path, self._lock = path, threading.Lock()
        self._group, self._values = -1, []  # type: tuple[int, list[Any]]
        with parquet.ParquetFile(path) as file:
            self.schema = file.schema_arrow
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
        self._position = [(group, row) for group, size in enumerate(sizes) for row in range(size)]

    def columns(self, names: list[str]) -> Any:
        with parquet.ParquetFile(self._path) as file:
            return file.read(columns=names)

    def stored_paths(self, name: str) -> Any:
        return pc.struct_field(self.columns([f"{name}.path"])[name], "path")

    def image(self, name: str, row: int) -> Any:
        group, row = self._position[row]
        with self._lock:
            if group != self._group:
                with parquet.ParquetFile(self._path) as file:
                    self._values = file.read_row_group(group, columns=[name])[name].to_pylist()
                self._group = group
            return self._values[row]


class _DatasetRows:
    """One split of a `datasets` folder, which stays on disk (memory map)."""

    def __init__(self, part: Any):
        self._table = part.with_format("arrow")[:]
        self.schema = self._table.schema

    def columns(self, names: list[str]) -> Any:
        return self._table.select(names)

    def stored_paths(self, name: str) -> Any:
        return pc.struct_field(self._table[name], "path")

    def image(self, name: str, row: int) -> Any:
        return self._table[name][row].as_py()


@dataclass(frozen=True)
class _Part:
    """One Parquet file, or one split of a `datasets` folder."""

    name: str  # for messages
    stem: str  # begins the profile ids where there is no column of ids
    split: str  # of all rows, "" if unknown
    open: Callable[[], _ParquetRows | _DatasetRows]


def _read_rows(
    root: Path, kind: str, parts: Sequence[_Part], columns: Columns, image_root: Path | None, faults: Faults
) -> Source:
    base = root if root.is_dir() else root.parent
    images = ImagePaths(image_root or base, (base, image_root or base))
    photos: list[SourcePhoto] = []
    notes: dict[str, None] = {}
    for part in parts:
        try:
            photos += _photos_of(part, columns, images, notes, faults)
        except (ArrowException, OSError, ValueError) as error:
            faults.add(f"is not a readable Parquet file ({error})", file=part.name)
    ids = [photo.profile_id for photo in photos]
    if bad := rounded(ids):
        faults.add(rounded_ids_fault(ids, bad), file=photos[bad[0]].place, column=columns.profile_id)
    _check_ids(photos, faults, remedy="give each row its own id")
    header = dict.fromkeys(name for photo in photos for name in photo.columns)
    return Source(root, kind, tuple(photos), tuple(header), parts[0].name if parts else "", tuple(notes))


def _photos_of(
    part: _Part, columns: Columns, images: ImagePaths, notes: dict[str, None], faults: Faults
) -> Iterator[SourcePhoto]:
    """Yield the photos of all rows, whose bytes are read when they are needed."""
    rows = part.open()
    raw_names = {plain(each): each for each in rows.schema.names}
    image = raw_names.get(columns.image, "")
    kind = rows.schema.field(image).type if image else null()
    is_struct = types.is_struct(kind) and kind.get_field_index("bytes") >= 0
    has_bytes = is_struct or types.is_binary(kind) or types.is_large_binary(kind)
    if not (has_bytes or types.is_string(kind) or types.is_large_string(kind)):
        what = "is no column of bytes, paths or {bytes, path}" if image else "is no column"
        there = cut(", ".join(raw_names), MOST_NAMES)
        what += f"{nearest(columns.image, raw_names)}; the columns are {there}: set columns.image=NAME"
        faults.add(f"{columns.image!r} {what}", file=part.name)
        return
    columns.check(tuple(raw_names), part.name, faults)
    texts = {name: raw for name, raw in raw_names.items() if raw != image and is_text(rows.schema.field(raw).type)}
    if dropped := [name for name, raw in raw_names.items() if raw != image and name not in texts]:
        notes[f"{part.name}: columns of bytes or images are dropped: {', '.join(dropped)}"] = None
    if columns.profile_id not in texts:
        notes[f"no column {columns.profile_id!r}: profile ids are made from file and row"] = None
    class_names, table = _class_names(rows.schema.metadata), rows.columns([*texts.values()])
    cells_of = {
        name: [_cell_text(value, class_names.get(raw)) for value in table[raw].to_pylist()]
        for name, raw in texts.items()
    }
    stored_paths: list[str | None] = [None] * len(table)
    if not has_bytes:
        stored_paths = rows.columns([image])[image].to_pylist()
    elif is_struct and kind.get_field_index("path") >= 0:
        stored_paths = rows.stored_paths(image).to_pylist()
    for row, stored in enumerate(stored_paths):
        record = {name: cells[row] for name, cells in cells_of.items()}
        cells = columns.renamed(record)
        if part.split and columns.split and not cells.get("split"):
            cells["split"] = part.split
        place, stored, path = f"{part.name}, row {row + 1}", plain(stored or ""), None
        if not has_bytes:
            path, fault = images.find_stored(stored) if stored else (None, "the cell is missing; fill it in")
            if path is None:
                faults.add(fault, file=place, column=columns.image)
        yield SourcePhoto(
            profile_id=record.get(columns.profile_id, f"{part.stem}_{row + 1}"),
            image=stored or f"{part.name} row {row + 1}",
            place=place,
            columns=cells,
            path=path,
            blob=partial(_content, rows, image, row, place, images),
        )


def _content(rows: _ParquetRows | _DatasetRows, image: str, row: int, place: str, images: ImagePaths) -> bytes:
    """Return the bytes of an image cell, or of the file at its path, which must be inside the allowed folders."""
    value = rows.image(image, row)
    content, path = (value.get("bytes"), value.get("path")) if isinstance(value, Mapping) else (value, None)
    if content or not path:
        return content or b""
    file, fault = images.find_stored(plain(path))
    if file is None:
        raise UserError(f"{place} has no bytes, only a path: {fault}")
    return file.read_bytes()


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Return column -> names of its classes, where the `datasets` library has stored them in the schema."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: one["names"] for name, one in features.items() if isinstance(one, dict) and one.get("names")}


def _cell_text(value: Any, names: list[str] | None) -> str:
    """Return a cell as text; -1 as a class number means no label."""
    if names and isinstance(value, int) and value < len(names):
        return plain(names[value]) if value >= 0 else ""
    return as_text(value)


def _parquet_files(root: Path) -> list[Path]:
    """Return Parquet files at the top or in data/ (the layout of the Hub), without couples.parquet."""
    if root.is_file():
        return [root]
    found = sorted(root.glob("*.parquet")) or sorted((root / "data").glob("*.parquet"))
    return [path for path in found if path.stem != "couples"]


def _parquet_parts(root: Path) -> list[_Part]:
    """All files; their names may begin with a split, as in train-00000-of-00001.parquet."""
    files = _parquet_files(root)
    if not files:
        raise UserError(f"source={root} has no *.parquet, neither at its top nor in data/; set kind=auto")
    words = [path.stem.replace("_", "-").split("-")[0].lower() for path in files]
    are_splits = {*words} <= {*SPLIT_NAMES} and len({*words}) > 1
    base = root if root.is_dir() else root.parent
    return [
        _Part(
            path.relative_to(base).as_posix(),
            plain(path.stem),
            to_split(word) if are_splits else "",
            partial(_ParquetRows, path),
        )
        for path, word in zip(files, words, strict=True)
    ]


def _dataset_parts(root: Path, columns: Columns, faults: Faults) -> list[_Part]:
    """The splits of a Dataset or DatasetDict saved with `save_to_disk`.

    Raises:
        UserError: `datasets` is not installed or cannot read the folder.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(f"source={root} needs the `datasets` library: pip install 'style_match[huggingface]'") from None
    try:
        loaded = datasets.load_from_disk(str(root))
    except Exception as error:  # damaged files raise errors of many types
        raise UserError(f"source={root} is no readable `datasets` folder ({str(error).splitlines()[0]})") from error
    if not isinstance(loaded, datasets.DatasetDict):
        return [_Part("dataset", "dataset", "", partial(_DatasetRows, loaded))]
    for name in loaded if columns.split else ():
        if name.lower() not in SPLIT_NAMES:
            faults.add(f"split {name!r} is none of {', '.join(SPLIT_NAMES)}; rename or remove it, or {DRAW_SPLIT}")
    return [
        _Part(name, name, to_split(name) if len(loaded) > 1 else "", partial(_DatasetRows, part))
        for name, part in loaded.items()
    ]
