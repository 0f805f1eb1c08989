"""Parquet rows with the bytes of an image, a path, or both in the hub's struct."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from style_match.data.faults import Faults, nearest
from style_match.data.image_path import ImagePaths
from style_match.data.table import MOST_NAMES, is_text
from style_match.errors import UserError
from style_match.preparation.kinds import parquet_files
from style_match.preparation.source import (
    SPLIT_WORDS,
    Columns,
    Source,
    SourcePhoto,
    as_text,
    check_ids,
    check_rounded,
    content_of,
    to_split,
)
from style_match.spelling import cut, plain


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
