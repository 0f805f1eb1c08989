"""The source with everything that belongs to it, as the config says, all faults together."""

import hashlib
import json
import os
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import DictConfig

from style_match.data.metadata import FILE_NAME, IMAGE_KEYS, TABLE_NAME, names_photos
from style_match.data.photos import ImagePaths, is_absent
from style_match.data.records import DUPLICATES, LEFT_OUT, Faults, has_control_character, nearest
from style_match.data.tables import MOST_NAMES, is_text, read_table, rounded, said_rounded
from style_match.labeling.audit import FOLDER as AUDIT
from style_match.labeling.ledger import FILE_NAME as LEDGER
from style_match.labeling.outputs import DRY_RUN, OWN_FILES, is_dry_run
from style_match.labeling.photos import SUFFIXES, find_photos, is_photo, is_system, said_system
from style_match.utils.errors import UserError
from style_match.utils.text import cut, plain, shown


def split_folders(root: Path, keys: Sequence[str]) -> list[str]:
    """Folders called train, val (or validation), test with metadata of their own, as Hugging Face has them."""
    names = sorted(path.name for path in root.iterdir() if path.name.lower() in SPLIT_WORDS and path.is_dir())
    return [name for name in names if has_metadata(root / name, keys)]


def has_metadata(folder: Path, keys: Sequence[str]) -> bool:
    """Whether a folder has metadata that names photos by one of the keys."""
    return (folder / FILE_NAME).exists() or names_photos(folder / TABLE_NAME, keys)


def image_keys(columns: "Columns") -> tuple[str, ...]:
    """The keys of metadata that may name a photo: the one asked for, then the usual ones."""
    return tuple(dict.fromkeys((columns.image, *IMAGE_KEYS)))


# File names made of profile ids: safe on every file system, and the same for the same ids.


_MOST_BYTES = 120  # file systems take 255; the ending and a number follow
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # of Windows


def file_stems(profile_ids: Sequence[str]) -> list[str]:
    """One stem a photo: the id where it is a plain name, followed by +2, +3, ... for further photos of a profile.

    Ids that are cut, changed, or would fall together where capitals do not count are followed by a hash of themselves.
    """
    plain = {each: _plain(each) for each in dict.fromkeys(profile_ids)}
    shared = Counter(_folded(stem) for stem in plain.values())
    stem_of = {
        each: stem if stem == each and shared[_folded(stem)] == 1 else f"{stem}-{_hash(each)}"
        for each, stem in plain.items()
    }
    seen: Counter[str] = Counter()
    stems = []
    for each in profile_ids:
        seen[each] += 1
        stems.append(stem_of[each] + (f"+{seen[each]}" if seen[each] > 1 else ""))
    return stems


def _plain(profile_id: str) -> str:
    """The id with nothing in it but letters and digits of any script, -, _ and dots inside; never empty."""
    text = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", profile_id)).strip(".-")
    text = text.encode()[:_MOST_BYTES].decode(errors="ignore").strip(".-")
    return f"_{text}" if not text or _RESERVED.fullmatch(text) else text


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFKC", stem).casefold()


def _hash(profile_id: str) -> str:
    return hashlib.sha256(profile_id.encode("utf-8", "surrogateescape")).hexdigest()[:10]


# What a source of photos gives, whatever kind it is of.


SPLIT_WORDS = {"train": "train", "val": "val", "validation": "val", "valid": "val", "dev": "val", "test": "test"}
OWN_COLUMNS = (DUPLICATES, LEFT_OUT)  # what this step adds to the table, last


@dataclass(frozen=True)
class SourcePhoto:
    """One photo. `file` and `row` say where the source names it (row 0: the file itself is all there is).

    Attributes:
        image: what the source calls it; metadata.jsonl names it so.
        path: of its file; None where `blob` gives its bytes.
        columns: further cells, as text.
    """

    profile_id: str
    image: str
    file: str
    row: int
    columns: dict[str, str]
    path: Path | None = None
    blob: Callable[[], bytes] | None = None
    unit: str = "row"

    @property
    def place(self) -> str:
        return f"{self.file}, {self.unit} {self.row}" if self.row else self.file

    def content(self) -> bytes:
        """Its bytes, b"" where the source has none. Raises OSError."""
        if self.path is not None:
            return self.path.read_bytes()
        return self.blob() if self.blob else b""


@dataclass(frozen=True)
class Source:
    """All photos in the order of the source; `header` are the further columns, `notes` are sentences for the user."""

    root: Path
    kind: str
    photos: tuple[SourcePhoto, ...]
    header: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Columns:
    """What the source calls the columns that count; `to_label` is what this project will call the class."""

    profile_id: str
    image: str
    label: str
    to_label: str

    def renamed(self, record: Mapping[str, str]) -> dict[str, str]:
        """The further cells of a row under their new names."""
        own = (self.profile_id, self.image)
        return {self.to_label if name == self.label else name: cell for name, cell in record.items() if name not in own}

    def check(self, header: tuple[str, ...], file: str, faults: Faults) -> None:
        """A fault where a renamed column meets one that has that name already."""
        for option in ("profile_id", "image", "label"):
            given = getattr(self, option)
            name = self.to_label if option == "label" else option
            if given != name and given in header and name in header:
                what = f"{shown(name)} stands beside {shown(given)}; remove one or leave out columns.{option}={given}"
                faults.add(what, file=file, column=name)


def check_ids(photos: list[SourcePhoto], faults: Faults, *, remedy: str, several: bool = False) -> None:
    """Faults for ids that are empty, hold control characters, or (unless `several`) belong to two photos."""
    first: dict[object, SourcePhoto] = {}
    for photo in photos:
        if not photo.profile_id:
            faults.add("the cell is missing; fill it in or remove the row", file=photo.place, column="profile_id")
        elif has_control_character(photo.profile_id):
            faults.add(f"{shown(photo.profile_id)} holds a control character", file=photo.place, column="profile_id")
        earlier = first.setdefault((photo.profile_id, photo.image) if several else photo.profile_id, photo)
        if earlier is not photo and photo.profile_id:
            faults.add(f"{photo.image} and {earlier.image} have one id, {shown(photo.profile_id)}; {remedy}")


def check_rounded(photos: Sequence[SourcePhoto], column: str, faults: Faults) -> None:
    """A fault where ids are numbers that lost digits; see `style_match.data.tables.rounded`."""
    ids = [photo.profile_id for photo in photos]
    if bad := rounded(ids):
        faults.add(said_rounded(ids, bad), file=photos[bad[0]].place, column=column)


def content_of(value: Any, images: ImagePaths, place: str) -> bytes:
    """The bytes of an image cell: bytes, or a struct with `bytes` and `path`; without bytes the file at the path.

    Raises:
        UserError: there are no bytes, and no file at the path inside the folders of `images`.
    """
    found = value.get("bytes") if isinstance(value, Mapping) else value
    path = value.get("path") if isinstance(value, Mapping) else None
    if found or not path:
        return found or b""
    file, fault = images.find_stored(plain(path))
    if file is None:
        raise UserError(f"{place} has no bytes, only a path: {fault}")
    return file.read_bytes()


def to_split(word: str) -> str:
    """A source's word for a split in ours; a word that is none stays as it is and is a fault later."""
    return SPLIT_WORDS.get(word.lower(), word)


def as_text(value: Any) -> str:
    """A cell of a typed table; "" for null and NaN."""
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return plain(str(value))


# Which kind of source a path is, and its photos.


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
        pass

        return read_huggingface(root, columns, image_root, faults)
    if kind == "parquet":
        pass

        return read_parquet(root, columns, image_root, faults)
    if not root.is_dir():
        raise UserError(f"source={root}: is a file; kind={kind} needs a folder")
    if not has_table(root) and not _has_photos(root):
        raise UserError(f"source={root}: no photo is below it; give the folder that holds the photos")
    if kind == "classes":
        pass

        return read_classes(root, columns, ids, image_root, faults)
    if has_table(root):
        pass

        return read_tables(root, columns, image_root, faults)
    pass

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


# Sources without a table: a folder of photos, or one folder for each class.


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


# A source with a table of profiles: profiles.csv or .parquet that names image files.


def read_tables(root: Path, columns: Columns, image_root: Path | None, faults: Faults) -> Source:
    """The rows of the table; images are relative to `image_root`, or to the folder."""
    table = read_table(root, "profiles", ((columns.profile_id, columns.image),), faults)
    if table is None:
        return Source(root, "tables", (), ())
    name = table.path.name
    columns.check(table.header, name, faults)
    base = image_root or root
    images = ImagePaths(base, (root, base), root)
    photos, absent = [], []
    for row, record in table.records():
        profile_id, image = record[columns.profile_id], record[columns.image]
        path, fault = images.find(image) if image else (None, "the cell is missing; fill it in or remove the row")
        cells = columns.renamed(record)
        if path is None and not cells.get(LEFT_OUT):  # what is left out already need not be there
            absent.append((table.place(row), fault.replace("data.image_root", "image_root")))
        if "split" in cells:
            cells["split"] = to_split(cells["split"])
        image = str(PurePosixPath(image))
        photos.append(SourcePhoto(profile_id, image, name, row, cells, path=path, unit=table.unit))
    if len(absent) == len(photos) > 2 and all(is_absent(fault) for _, fault in absent):
        what = (
            f"none of the {len(photos)} images exists below {base}; set image_root to the folder they are relative to"
        )
        faults.add(what, file=name, column=columns.image)
    else:
        for place, fault in absent:
            faults.add(fault, file=name, place=place, column=columns.image)
    check_ids(photos, faults, remedy="the row stands there twice; remove one", several=True)
    header = tuple(columns.renamed(dict.fromkeys(table.header, "")))
    return Source(root, "tables", tuple(photos), header)


# Parquet rows with the bytes of an image, a path, or both in the hub's struct.


class Blobs:
    """The image column of one file; the row group read last is kept, so that reading in order reads each once."""

    def __init__(self, path: Path, column: str):
        self.path, self.column = path, column
        self._lock = threading.Lock()
        self._group, self._values = -1, []  # type: tuple[int, list[Any]]

    def read(self, group: int, row: int) -> Any:
        """The value of a row: bytes, or a struct. Raises UserError where the file cannot be read any more."""
        from pyarrow import ArrowException, parquet

        with self._lock:
            if group != self._group:
                try:
                    with parquet.ParquetFile(self.path) as file:
                        self._values = file.read_row_group(group, columns=[self.column])[self.column].to_pylist()
                except (ArrowException, OSError) as error:
                    raise UserError(f"{self.path}: cannot be read ({error})") from error
                self._group = group
            return self._values[row]


def read_parquet(root: Path, columns: Columns, image_root: Path | None, faults: Faults) -> Source:
    """The rows of all files; without a column of ids a profile is called after its file and row."""
    files = parquet_files(root)
    if not files:
        raise UserError(f"source={root}: no *.parquet at its top or in data/; give kind=auto or another folder")
    base = root if root.is_dir() else root.parent
    images = ImagePaths(image_root or base, (base, image_root or base))
    by_name = {
        path: word for path in files if (word := path.stem.replace("_", "-").split("-")[0].lower()) in SPLIT_WORDS
    }
    photos: list[SourcePhoto] = []
    header: dict[str, None] = {}
    notes: dict[str, None] = {}
    for path in files:
        split = to_split(by_name[path]) if len(by_name) == len(files) and len(set(by_name.values())) > 1 else ""
        photos += _read_file(path, base, images, columns, split, header, notes, faults)
    check_rounded(photos, columns.profile_id, faults)
    check_ids(photos, faults, remedy="give each row its own id")
    return Source(root, "parquet", tuple(photos), tuple(header), tuple(notes))


def _read_file(
    path: Path,
    base: Path,
    images: ImagePaths,
    columns: Columns,
    split: str,
    header: dict[str, None],
    notes: dict[str, None],
    faults: Faults,
) -> Iterator[SourcePhoto]:
    """The rows of one file; its columns go to `header`, sentences to `notes`."""
    import pyarrow
    from pyarrow import parquet

    name = path.relative_to(base).as_posix()
    try:
        with parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            raw_of = {plain(each): each for each in schema.names}
            image_column = raw_of.get(columns.image, columns.image)
            sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
            texts = {
                each: raw for each, raw in raw_of.items() if raw != image_column and is_text(schema.field(raw).type)
            }
            table = file.read(columns=[*texts.values()])
            kind = schema.field(image_column).type if image_column in schema.names else None
            paths = _paths(file, image_column, kind)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        faults.add(f"is not a readable Parquet file ({error})", file=name)
        return
    if kind is None or not (paths or _holds_bytes(kind)):
        what = "is no column of bytes, paths or {bytes, path}" if kind is not None else "is no column"
        hint = nearest(columns.image, raw_of)
        there = cut(", ".join(raw_of), MOST_NAMES)
        faults.add(f"{columns.image!r} {what}{hint}; the columns are {there}: write columns.image=NAME", file=name)
        return
    columns.check(tuple(raw_of), name, faults)
    if left := [each for each, raw in raw_of.items() if raw != image_column and each not in texts]:
        notes[f"{name}: columns of bytes are not kept: {', '.join(left)}"] = None
    class_names = _class_names(schema.metadata)
    with_id = columns.profile_id in texts
    if not with_id:
        notes[f"no column {columns.profile_id!r}: profiles are called after their file and row"] = None
    blobs = Blobs(path, image_column)
    cells_of = {
        each: [_cell(value, class_names.get(raw)) for value in table[raw].to_pylist()] for each, raw in texts.items()
    }
    where = [(group, row) for group, size in enumerate(sizes) for row in range(size)]
    for number, (group, row) in enumerate(where):
        record = {each: cells[number] for each, cells in cells_of.items()}
        cells = columns.renamed(record)
        if "split" in cells or split:
            cells["split"] = to_split(cells.get("split") or split)
        header.update(dict.fromkeys(cells))
        profile_id = record[columns.profile_id] if with_id else f"{plain(path.stem)}_{number + 1}"
        image = plain(paths[number] or "") if paths else ""
        place: dict[str, Any] = {"file": name, "row": number + 1, "columns": cells}
        if _holds_bytes(kind):
            at = f"{name}, row {number + 1}"
            read = lambda group=group, row=row, at=at: content_of(blobs.read(group, row), images, at)  # noqa: E731
            yield SourcePhoto(profile_id, image or f"{name} row {number + 1}", blob=read, **place)
            continue
        found, fault = images.find_stored(image) if image else (None, "the cell is missing; fill it in")
        if found is None:
            faults.add(fault, file=name, place=f"row {number + 1}", column=columns.image)
        yield SourcePhoto(profile_id, image, path=found, **place)


def _holds_bytes(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


def _paths(file: Any, column: str, kind: Any) -> list[str | None]:
    """The paths in the image column, [] where it has none."""
    from pyarrow import types

    if kind is None:
        return []
    if types.is_string(kind) or types.is_large_string(kind):
        return file.read(columns=[column])[column].to_pylist()
    if types.is_struct(kind) and kind.get_field_index("path") >= 0:
        found = file.read(columns=[f"{column}.path"])[column].to_pylist()
        return [None if each is None else each["path"] for each in found]
    return []


def _class_names(metadata: dict[bytes, bytes] | None) -> dict[str, list[str]]:
    """Column -> names of its classes, where the `datasets` library has noted them in the file."""
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: one["names"] for name, one in features.items() if isinstance(one, dict) and one.get("names")}


def _cell(value: Any, names: list[str] | None) -> str:
    return plain(names[value]) if names and isinstance(value, int) and 0 <= value < len(names) else as_text(value)


# A folder of the `datasets` library on disk: one dataset, or a dictionary of train, validation and test.


def read_huggingface(root: Path, columns: Columns, image_root: Path | None, faults: Faults) -> Source:
    """Its rows; photos stay on disk until they are asked for.

    Raises:
        UserError: the library is not installed, or cannot read the folder.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"source={root}: needs the library that wrote it: pip install 'style_match[huggingface]'"
        ) from None
    try:
        loaded = datasets.load_from_disk(str(root))
    except Exception as error:  # the library raises whatever it meets in damaged files
        raise UserError(f"source={root}: is no readable folder of `datasets` ({str(error).splitlines()[0]})") from error
    parts = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"": loaded}
    for name in parts:
        if name and name.lower() not in SPLIT_WORDS:
            faults.add(f"split {name!r} is none of {', '.join(SPLIT_WORDS)}; rename or remove it")
    images = ImagePaths(image_root or root, (root, image_root or root))
    photos: list[SourcePhoto] = []
    header: dict[str, None] = {}
    notes: list[str] = []
    for name, part in parts.items():
        split = to_split(name) if len(parts) > 1 else ""
        photos += _read_part(part, name, images, split, columns, header, notes, faults)
    check_rounded(photos, columns.profile_id, faults)
    check_ids(photos, faults, remedy="give each row its own id")
    return Source(root, "huggingface", tuple(photos), tuple(header), tuple(dict.fromkeys(notes)))


def _read_part(
    part: Any,
    name: str,
    images: ImagePaths,
    split: str,
    columns: Columns,
    header: dict[str, None],
    notes: list[str],
    faults: Faults,
) -> list[SourcePhoto]:
    import datasets

    file = name or "dataset"
    part = part.rename_columns({each: plain(each) for each in part.column_names if plain(each) != each})
    feature = part.features.get(columns.image)
    if not isinstance(feature, datasets.Image):
        pictures = [each for each, kind in part.features.items() if isinstance(kind, datasets.Image)]
        hint = f"; columns of images are: {', '.join(pictures)}" if pictures else nearest(columns.image, part.features)
        faults.add(f"{columns.image!r} is no column of images{hint}: write columns.image=NAME", file=file)
        return []
    columns.check(tuple(part.features), file, faults)
    raw = part.cast_column(columns.image, datasets.Image(decode=False))  # the file's bytes, not pixels
    others = [each for each in part.features if not isinstance(part.features[each], datasets.Image)]
    if left := [each for each in part.features if each not in (*others, columns.image)]:
        notes.append(f"other columns of images are not kept: {', '.join(left)}")
    table = part.select_columns(others).with_format(None)
    with_id = columns.profile_id in others
    if not with_id:
        notes.append(f"no column {columns.profile_id!r}: profiles are called after their row")
    photos = []
    for number, record in enumerate(table if others else [{}] * len(part)):
        texts = {each: _text(part.features[each], value) for each, value in record.items()}
        cells = columns.renamed(texts)
        if "split" in cells or split:
            cells["split"] = to_split(cells.get("split") or split)
        header.update(dict.fromkeys(cells))
        profile_id = texts[columns.profile_id] if with_id else f"{file}_{number + 1}"
        at = f"{file}, row {number + 1}"
        read = lambda number=number, at=at: content_of(raw[number][columns.image], images, at)  # noqa: E731
        photos.append(SourcePhoto(profile_id, f"{file} row {number + 1}", file, number + 1, cells, blob=read))
    return photos


def _text(feature: Any, value: Any) -> str:
    names = getattr(feature, "names", None)
    if names and isinstance(value, int):
        return plain(names[value]) if value >= 0 else ""  # -1 is the library's word for no label
    return as_text(value)


def classes_of(cfg: DictConfig, attribute: str) -> list[str]:
    """The classes that are allowed, [] where any are."""
    if attribute == cfg.label and cfg.classes is not None:
        return list(cfg.classes)
    schema = cfg.get("schema")
    if not schema:
        return []
    from style_match.data.schema import Schema

    return list(Schema.from_config(schema, f"schema/{schema.name}.yaml").class_names(attribute))
