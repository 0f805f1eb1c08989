"""Find and remove the rows of one person in CSV, Parquet and JSON lines files; all other lines stay byte for byte."""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from style_match.data.tables import csv_layout
from style_match.utils.errors import UserError
from style_match.utils.files import read_cell, write_whole
from style_match.utils.text import plain, plain_keys_and_values, stored_forms

Cells = dict[str, str]  # column -> text

_ID_COLUMNS = ("profile_id", "female_id", "male_id", "left_id", "right_id")
_IMAGE_COLUMNS = ("image", "file_name")  # Hugging Face image folders use the second name
# Columns of rejected.csv and failed.csv in which an id can only stand by chance.
_NO_NAMES = ("image", "kind", "file", "row", "line", "status", "attempts", "split")


class Lines:
    """Decides which rows, JSON lines and texts are about one person. Texts are compared as `plain`.

    Attributes:
        stored_ids: the ids in every Unicode form that a stored file may have.
    """

    def __init__(self, profile_ids: Collection[str], images: Collection[str]):
        self.ids, names = {*map(plain, profile_ids)}, {*map(plain, images)} - {""}
        self.stored_ids = {form for each in self.ids for form in stored_forms(each)}
        self.images = {*map(PurePosixPath, names)}
        self._mention, self._image_mention = _mention(self.ids | names), _mention({*map(str, self.images)})

    def has_id(self, cells: Cells) -> bool:
        """Whether a row of profiles, couples, splits or photos has an id or an image of the person."""
        return any(plain(cells.get(column, "")) in self.ids for column in _ID_COLUMNS) or any(
            PurePosixPath(plain(cells.get(column, ""))) in self.images for column in _IMAGE_COLUMNS
        )

    def mentions(self, cells: Cells) -> bool:
        """Whether a row of rejected.csv or failed.csv has an image of the person or mentions an id or image."""
        if PurePosixPath(plain(cells.get("image", ""))) in self.images:
            return True
        return any(self.in_text(cell) for column, cell in cells.items() if column not in _NO_NAMES)

    def in_text(self, text: str) -> bool:
        """Whether an id or an image occurs in the text and is not a part of a longer word."""
        return bool(self._mention.search(plain(text)))

    def in_file(self, path: Path) -> bool:
        """Whether an id or an image occurs in a text file, an HTML page or a JSON file."""
        return self.in_text(path.read_bytes().decode("utf-8", errors="replace"))

    def has_image(self, line: str) -> bool:
        """Whether a line of metadata.jsonl is about an image of the person; a broken line counts if it mentions one."""
        line = plain(line)  # without a byte order mark
        try:
            values = plain_keys_and_values(json.loads(line))
            image = next(values[key] for key in _IMAGE_COLUMNS if key in values)
            return PurePosixPath(image) in self.images
        except (ValueError, RecursionError, TypeError, StopIteration):
            return bool(self._image_mention.search(line))


def _mention(names: Collection[str]) -> re.Pattern[str]:
    """Match each name as a word, as written and as HTML and JSON escape it."""
    forms = {form for name in names for form in (name, html.escape(name), json.dumps(name, ensure_ascii=False)[1:-1])}
    forms |= {json.dumps(stored)[1:-1] for name in names for stored in stored_forms(name)}
    return re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(forms)))})(?![\w-])" if forms else "(?!)")


def drop_rows(path: Path, is_theirs: Callable[[Cells], bool], *, dry_run: bool) -> int:
    """Remove the rows of a CSV or Parquet table for which `is_theirs` holds and return their number.

    Raises:
        UserError: the file cannot be parsed or written.
    """
    if path.suffix == ".parquet":
        return _drop_parquet(path, is_theirs, dry_run=dry_run)
    text = _text(path)
    separator, above = csv_layout(text.removeprefix("\ufeff"), (*_ID_COLUMNS, *_IMAGE_COLUMNS))
    lines = io.StringIO(text, newline="").readlines()
    reader = csv.reader(lines, delimiter=separator, strict=True)
    header: list[str] | None = None
    remaining: list[str] = []
    dropped = start = 0
    try:
        for cells in reader:
            raw, start = lines[start : reader.line_num], reader.line_num
            if header is None and reader.line_num > above and any(map(plain, cells)):
                header = [plain(read_cell(cell)) for cell in cells]
            elif header and cells and is_theirs(dict(zip(header, map(read_cell, cells), strict=False))):
                dropped += 1
                continue
            remaining += raw
    except csv.Error as error:
        raise UserError(f"{path}, line {start + 1} is not valid CSV ({error}). Fix the file and run again.") from error
    if dropped and not dry_run:
        write_whole(path, "".join(remaining))
    return dropped


def drop_lines(
    path: Path,
    is_theirs: Callable[[str], bool],
    *,
    dry_run: bool,
    before_write: Callable[[str, str], object] | None = None,
) -> int:
    """Remove the lines of a text file for which `is_theirs` holds and return their number.

    Args:
        before_write: called with the old and the new text of the file before it is replaced.
    """
    text = _text(path)
    lines = io.StringIO(text, newline="\n").readlines()
    remaining = [line for line in lines if not is_theirs(line)]
    if len(remaining) < len(lines) and not dry_run:
        if before_write is not None:
            before_write(text, "".join(remaining))
        write_whole(path, "".join(remaining))
    return len(lines) - len(remaining)


def _drop_parquet(path: Path, is_theirs: Callable[[Cells], bool], *, dry_run: bool) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}). Fix the file and run again.") from error
    names = [name for name in table.column_names if plain(name) in (*_ID_COLUMNS, *_IMAGE_COLUMNS)]
    rows = table.select(names).to_pylist()
    texts = [{plain(name): "" if cell is None else str(cell) for name, cell in row.items()} for row in rows]
    remain = [not is_theirs(row) for row in texts]
    if not all(remain) and not dry_run:
        sink = pa.BufferOutputStream()
        parquet.write_table(table.filter(pa.array(remain)), sink)
        write_whole(path, sink.getvalue().to_pybytes())
    return remain.count(False)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8. Save it as UTF-8 and run again.") from error
