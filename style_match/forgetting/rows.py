"""Takes lines out of tables and leaves all others byte for byte as they are."""

import csv
import html
import io
import json
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from style_match.csvs import read_cell
from style_match.data.table import csv_layout
from style_match.errors import UserError
from style_match.files import write_whole
from style_match.spelling import plain, plain_keys_and_values, stored_forms

_ID_COLUMNS = ("profile_id", "female_id", "male_id", "left_id", "right_id")
_IMAGE_COLUMNS = ("image", "file_name")  # the second of image folders of Hugging Face
_NO_NAMES = ("image", "kind", "file", "row", "line", "status", "attempts", "split")  # of rejected.csv and failed.csv
Cells = dict[str, str]


class Lines:
    """Says which rows and objects are of somebody; texts are compared as `plain`.

    Attributes:
        stored_ids: the ids in every form that something stored may have them.
    """

    def __init__(self, profile_ids: Collection[str], images: Collection[str]):
        self.ids = {plain(each) for each in profile_ids}
        self.stored_ids = {form for each in self.ids for form in stored_forms(each)}
        self.images = {PurePosixPath(plain(image)) for image in images}
        self.names = {*map(plain, profile_ids), *map(plain, images)}

    def has_id(self, cells: Cells) -> bool:
        """Of a table of profiles, couples or splits, or of one about photos: an id or an image."""
        if any(plain(cells.get(column, "")) in self.ids for column in _ID_COLUMNS):
            return True
        return any(PurePosixPath(plain(cells.get(column, ""))) in self.images for column in _IMAGE_COLUMNS)

    def mentions(self, cells: Cells) -> bool:
        """Of a list of what was left out or failed: its image, or an id or an image as a word of another cell."""
        if PurePosixPath(plain(cells.get("image", ""))) in self.images:
            return True
        return any(self.in_text(cell) for column, cell in cells.items() if column not in _NO_NAMES)

    def in_text(self, text: str) -> bool:
        """Whether an id or an image stands in the text, not as a part of a longer word or path."""
        text = plain(text)
        return any(_stands_in(name, text) for name in self.names)

    def in_file(self, path: Path) -> bool:
        """As `in_text`, of a file's text as it stands, in a page (escaped) or in JSON."""
        text = plain(path.read_bytes().decode("utf-8", errors="replace"))
        return any(
            _stands_in(form, text)
            for name in self.names
            for form in {name, html.escape(name), json.dumps(name, ensure_ascii=False)[1:-1]}
            | {json.dumps(stored)[1:-1] for stored in stored_forms(name)}
        )

    def has_image(self, line: str) -> bool:
        """Of metadata.jsonl; of a broken line whether it mentions an image."""
        try:
            about = plain_keys_and_values(json.loads(line))
            name = next(about[key] for key in _IMAGE_COLUMNS if key in about)
            return PurePosixPath(name) in self.images
        except (ValueError, RecursionError, TypeError, StopIteration):
            line = plain(line)
            return any(_stands_in(json.dumps(str(image), ensure_ascii=False)[1:-1], line) for image in self.images)


def _stands_in(name: str, text: str) -> bool:
    at = text.find(name)
    while at >= 0:
        before, after = text[at - 1 : at], text[at + len(name) : at + len(name) + 1]
        if not (before.isalnum() or before in ("_", "-")) and not (after.isalnum() or after in ("_", "-")):
            return True
        at = text.find(name, at + 1)
    return False


def drop_rows(path: Path, is_theirs: Callable[[Cells], bool], *, dry_run: bool) -> int:
    """Removes the rows of a CSV or Parquet table for which it holds; returns how many.

    Raises:
        UserError: the file cannot be read as such, or written.
    """
    if path.suffix == ".parquet":
        return _drop_parquet(path, is_theirs, dry_run=dry_run)
    text = _text(path)
    separator, above = csv_layout(text.removeprefix("\ufeff"), (*_ID_COLUMNS, *_IMAGE_COLUMNS))
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines, delimiter=separator, strict=True)
    header: list[str] | None = None
    kept, dropped, began = [], 0, 0
    try:
        for cells in reader:
            raw, began = lines[began : reader.line_num], reader.line_num
            if header is None and reader.line_num > above and any(map(plain, cells)):
                header = [plain(read_cell(cell)) for cell in cells]
            elif header and cells and is_theirs(dict(zip(header, map(read_cell, cells), strict=False))):
                dropped += 1
                continue
            kept += raw
    except csv.Error as error:
        raise UserError(
            f"{path}, line {began + 1}: is not CSV ({error}); mend it first. Nobody is forgotten yet."
        ) from error
    if dropped and not dry_run:
        write_whole(path, "".join(kept))
    return dropped


def drop_lines(
    path: Path, is_theirs: Callable[[str], bool], *, dry_run: bool, note: Callable[[str, str], object] | None = None
) -> int:
    """Removes the lines of a text file for which it holds; returns how many.

    Args:
        note: is told the text as it was and as it will be, before it is written.
    """
    text = _text(path)
    lines = io.StringIO(text, newline="\n").readlines()
    kept = [line for line in lines if not is_theirs(line.lstrip("\ufeff"))]
    if len(kept) < len(lines) and not dry_run:
        if note is not None:
            note(text, "".join(kept))
        write_whole(path, "".join(kept))
    return len(lines) - len(kept)


def _drop_parquet(path: Path, is_theirs: Callable[[Cells], bool], *, dry_run: bool) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}); mend it first.") from error
    columns = {
        plain(name): table[name].to_pylist()
        for name in table.column_names
        if plain(name) in _ID_COLUMNS + _IMAGE_COLUMNS
    }
    records = [dict(zip(columns, map(str, cells), strict=True)) for cells in zip(*columns.values(), strict=True)]
    stays = [not is_theirs(cells) for cells in records]
    if not all(stays) and not dry_run:
        sink = pa.BufferOutputStream()
        parquet.write_table(table.filter(pa.array(stays)), sink)
        write_whole(path, sink.getvalue().to_pybytes())
    return stays.count(False)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: save it as UTF-8 first. Nobody is forgotten yet.") from error
