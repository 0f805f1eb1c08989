"""Find and remove the rows of one person in CSV, Parquet and JSON lines files; all other lines stay byte for byte."""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath

from style_match.data.metadata import IMAGE_KEYS, parse_line
from style_match.data.tables import csv_layout
from style_match.utils.errors import UserError
from style_match.utils.files import read_cell, write_whole
from style_match.utils.text import plain, stored_forms

Cells = dict[str, str]  # column -> text

_ID_COLUMNS = ("profile_id", "female_id", "male_id", "left_id", "right_id")
_COLUMNS = (*_ID_COLUMNS, *IMAGE_KEYS)
# Columns of rejected.csv and failed.csv in which an id can only stand by chance.
_NO_NAMES = ("image", "kind", "file", "row", "line", "status", "attempts", "split")


class PersonNames:
    """Decides which rows, JSON lines and texts are about one person. Texts are compared as `plain`.

    Attributes:
        stored_ids: the ids in every Unicode form that a stored file may have.
    """

    def __init__(self, profile_ids: Collection[str], images: Collection[str]):
        self._ids, names = {*map(plain, profile_ids)}, {*map(plain, images)} - {""}
        self._images = {*map(PurePosixPath, names)}
        self.stored_ids = {form for each in self._ids for form in stored_forms(each)}
        forms = {
            written
            for form in self.stored_ids.union(*map(stored_forms, names))
            for written in (form, html.escape(form), json.dumps(form)[1:-1], json.dumps(form, ensure_ascii=False)[1:-1])
        }
        # each name as a word, as written and as HTML and JSON escape it
        pattern = rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(forms)))})(?![\w-])" if forms else "(?!)"
        self._mention = re.compile(pattern)

    def in_row(self, cells: Cells) -> bool:
        """Whether a row of profiles, couples, splits or photos has an id or an image of the person."""
        return any(plain(cells.get(column, "")) in self._ids for column in _ID_COLUMNS) or any(
            PurePosixPath(plain(cells.get(column, ""))) in self._images for column in IMAGE_KEYS
        )

    def in_list(self, cells: Cells) -> bool:
        """Whether a row of rejected.csv or failed.csv has an image of the person or mentions an id or image."""
        return self.in_row(cells) or any(self.in_text(cell) for name, cell in cells.items() if name not in _NO_NAMES)

    def in_metadata(self, line: str) -> bool:
        """Whether a line of metadata.jsonl is about an image of the person; a broken line if it mentions one."""
        found = parse_line(line.removeprefix("\ufeff"))
        return self.in_text(line) if isinstance(found, str) else PurePosixPath(found["image"]) in self._images

    def in_text(self, text: str) -> bool:
        """Whether an id or an image occurs in the text and is not a part of a longer word."""
        return bool(self._mention.search(plain(text)))

    def in_file(self, path: Path) -> bool:
        """Whether an id or an image occurs in a text file, an HTML page or a JSON file."""
        return self.in_text(path.read_bytes().decode("utf-8", errors="replace"))


def drop_rows(path: Path, is_theirs: Callable[[Cells], bool], *, dry_run: bool) -> int:
    """Remove the rows of a CSV or Parquet table for which `is_theirs` holds and return their number.

    Raises:
        UserError: the file cannot be parsed or written.
    """
    if path.suffix == ".parquet":
        return _drop_parquet(path, is_theirs, dry_run=dry_run)
    text = _text(path)
    separator, above = csv_layout(text.removeprefix("\ufeff"), _COLUMNS)
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


def _drop_parquet(path: Path, is_theirs: Callable[[Cells], bool], *, dry_run: bool) -> int:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path} is not a readable Parquet file ({error}). Fix the file and run again.") from error
    rows = table.select([name for name in table.column_names if plain(name) in _COLUMNS]).to_pylist()
    remain = [
        not is_theirs({plain(name): "" if cell is None else str(cell) for name, cell in row.items()}) for row in rows
    ]
    if not all(remain) and not dry_run:
        sink = pa.BufferOutputStream()
        parquet.write_table(table.filter(pa.array(remain)), sink)
        write_whole(path, sink.getvalue().to_pybytes())
    return remain.count(False)


def drop_lines(path: Path, is_theirs: Callable[[str], bool], *, dry_run: bool) -> int:
    """Remove the lines of a text file for which `is_theirs` holds and return their number."""
    lines = io.StringIO(_text(path), newline="\n").readlines()
    remaining = [line for line in lines if not is_theirs(line)]
    if len(remaining) < len(lines) and not dry_run:
        write_whole(path, "".join(remaining))
    return len(lines) - len(remaining)


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Cannot read {path} as UTF-8 text ({error}). Fix the file and run again.") from error
