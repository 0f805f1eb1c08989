"""Tables of a dataset folder: CSV or Parquet, every cell as text, every row with its place in the file."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from style_match.data.records import Faults, nearest
from style_match.utils.files import read_cell
from style_match.utils.text import cut, plain, shown

STEMS = ("profiles", "couples")
SEPARATORS = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
MOST_NAMES = 1000  # characters of a list of columns in a message
ID_COLUMNS = ("profile_id", "female_id", "male_id", "left_id", "right_id", "user_id")
_ROUNDED = re.compile(r"[+-]?\d+(\.\d+)?[eE]\+\d+|\d{16,}\.0+")
_SHEET_DIGITS, _MIN_ZEROS = 15, 6  # digits that a spreadsheet keeps; this many zeros after them are no coincidence
_SEPARATOR_LINE = re.compile(r'"?sep=([^"\w\s]|\t)"?', re.IGNORECASE)  # spreadsheets write it above the header
Columns = Sequence[Sequence[str]]  # alternative sets of required columns


@dataclass(frozen=True)
class Table:
    """`rows` are (number, cells): the line a CSV row begins on (the header is line 1), a Parquet row from 1."""

    path: Path
    unit: str  # "line" or "row"
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def records(self) -> Iterator[tuple[int, dict[str, str]]]:
        """(row number, {column: cell}); cells and names are `plain`, a missing cell is ""."""
        for number, cells in self.rows:
            yield number, dict(zip(self.header, cells, strict=True))

    def place(self, row: int) -> str:
        return f"{self.unit} {row}"


def read_table(folder: Path, stem: str, required: Columns, faults: Faults) -> Table | None:
    """Read `stem`.csv or `stem`.parquet.

    Args:
        required: sets of columns, one of which must exist.
        faults: receives what is wrong.

    Returns:
        The table, or None if nothing can be read from it.
    """
    found = [path for suffix in ("csv", "parquet") if (path := folder / f"{stem}.{suffix}").exists()]
    if not found:
        hint = nearest(f"{stem}.csv", (path.name for path in folder.iterdir() if path.stem not in STEMS))
        faults.add(f"neither {stem}.csv nor {stem}.parquet is there{hint}; write one with {', '.join(required[0])}")
        return None
    if len(found) == 2:
        faults.add(f"{stem}.csv and {stem}.parquet are both there; remove one")
        return None
    path = found[0]
    if _is_no_file(path, faults):
        return None
    table = (_read_csv if path.suffix == ".csv" else _read_parquet)(path, required, faults)
    if table is None:
        return None
    if not table.rows:
        faults.add("has a header but no rows", file=path.name)
        return None
    before = len(faults)
    for position, column in enumerate(table.header):
        if column in ID_COLUMNS or any(column in columns for columns in required):
            ids = [cells[position] for _, cells in table.rows]
            if bad := rounded(ids):
                place = table.place(table.rows[bad[0]][0])
                faults.add(rounded_ids_fault(ids, bad), file=path.name, place=place, column=column)
    return table if len(faults) == before else None  # further faults would follow from rounded ids


def _is_header_valid(path: Path, header: Sequence[str], required: Columns, faults: Faults) -> bool:
    before = len(faults)
    for position, column in enumerate(header, start=1):
        if not column:
            what = f"column {position} has no name; name or remove it (pandas: to_csv(..., index=False))"
            faults.add(what, file=path.name)
        elif column in header[: position - 1]:
            faults.add("occurs twice in the header; rename one", file=path.name, column=cut(column))
    expected = max(required, key=lambda columns: sum(column in header for column in columns))
    others = [column for column in header if column not in expected]
    for column in expected:
        if column not in header:
            there = cut(", ".join(header), MOST_NAMES)
            faults.add(f"no column {column!r}{nearest(column, others)}; the columns are {there}", file=path.name)
    return len(faults) == before


def rounded(ids: Sequence[str]) -> list[int]:
    """Positions of ids that lost digits because a program stored them as numbers.

    Such ids have an exponent (`1.23e+18`), are fractions beyond the digits of a double, or (all long ids of a column)
    have only zeros after the fifteenth digit, as in spreadsheets.
    """
    found = [position for position, each in enumerate(ids) if _ROUNDED.fullmatch(each)]
    long = [position for position, each in enumerate(ids) if len(each) > _SHEET_DIGITS and each.isdecimal()]
    ends = "".join(ids[position][_SHEET_DIGITS:] for position in long)
    return found or (long if len(ends) >= _MIN_ZEROS and not ends.strip("0") else [])


def rounded_ids_fault(ids: Sequence[str], bad: Sequence[int]) -> str:
    """The fault, for the first of the rounded ids."""
    return (
        f"{shown(ids[bad[0]])} is a rounded number, and so are {len(bad)} of {len(ids)} ids: the column was stored as "
        "numbers, which lost digits. Write it again as text from its source"
    )


def csv_layout(text: str, columns: Sequence[str]) -> tuple[str, int]:
    """The separator of a CSV text and the number of lines above the header.

    A first line such as `sep=;` names the separator. Otherwise it is the one of comma, semicolon and tab that
    separates most of `columns` in the header.
    """
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    if named := _SEPARATOR_LINE.fullmatch(first):
        return named[1], 1

    def num_known(separator: str) -> int:
        return sum(plain(cell.strip('" ')) in columns for cell in first.split(separator))

    return max(SEPARATORS, key=num_known), 0


def _read_csv(path: Path, required: Columns, faults: Faults) -> Table | None:
    """Rows may end after their last filled cell and empty rows are skipped, as spreadsheets write them."""
    text = read_text(path, faults)
    if text is None:
        return None
    separator, above = csv_layout(text, [column for columns in required for column in columns])
    # strict: an unclosed quote is an error here, not one huge cell that swallows the following rows
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[tuple[int, list[str]]] = []
    line = 1  # of the beginning of a record, which may span lines
    try:
        for cells in reader:
            if reader.line_num > above and any(cells := [plain(read_cell(cell.strip())) for cell in cells]):
                records.append((line, cells))
            line = reader.line_num + 1
    except csv.Error as error:
        faults.add(f"is not CSV from here on ({error}); is a quote left open?", file=path.name, place=f"line {line}")
        return None
    if not records:
        faults.add("is empty", file=path.name)
        return None
    header = records[0][1]
    widths = [max(at for at, cell in enumerate(cells, start=1) if cell) for _, cells in records]  # up to the last cell
    header = header[: max(widths[0], min(max(widths), len(header)))]  # drop columns without any cell
    if not _is_header_valid(path, header, required, faults):
        return None  # faults of rows may follow from those of the header
    for (line, _), width in zip(records, widths, strict=True):
        if width > len(header):
            name = SEPARATORS.get(separator, repr(separator))
            what = f"{width} cells under {len(header)} columns; quote a cell that contains {name}"
            faults.add(what, file=path.name, place=f"line {line}")
    rows = ((line, tuple(cells[: len(header)]) + ("",) * (len(header) - len(cells))) for line, cells in records[1:])
    return Table(path, "line", tuple(header), tuple(rows))


def read_text(path: Path, faults: Faults) -> str | None:
    """The text of a UTF-8 file, with or without a byte order mark; None and a fault for anything else."""
    if _is_no_file(path, faults):
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        faults.add(f"cannot be read ({error.strerror})", file=path.name)
        return None
    remedy = "save it as UTF-8 (Excel: 'CSV UTF-8')"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        faults.add(f"is UTF-16, not UTF-8; {remedy}", file=path.name)
        return None
    try:
        text = data.decode("utf-8-sig")
        if "\0" not in text:
            return text
        at, what = data.find(b"\0"), "contains a NUL byte, so it is not UTF-8 text"
    except UnicodeDecodeError as error:
        at, what = error.start, f"byte {data[error.start]:#04x} is not UTF-8"
    line = data.count(b"\n", 0, at) + 1
    faults.add(f"{what}; {remedy}", file=path.name, place=f"line {line}")
    return None


def _is_no_file(path: Path, faults: Faults) -> bool:
    """Add a fault for a folder or a pipe; reading a pipe would wait for ever."""
    if not path.exists() or path.is_file():
        return False
    faults.add("is not a file but a folder or a pipe; replace or remove it", file=path.name)
    return True


def _read_parquet(path: Path, required: Columns, faults: Faults) -> Table | None:
    import pyarrow
    from pyarrow import parquet

    try:
        # ParquetFile reads one file: no partition columns from the names of its folders
        with parquet.ParquetFile(path) as file:
            table = file.read()
        texts = {name: _decoded(column) for name, column in zip(table.column_names, table.columns, strict=True)}
        binary = [name for name, column in texts.items() if column is None]
        columns = [] if binary else [[as_text(value) for value in column.to_pylist()] for column in texts.values()]
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        faults.add(f"is not a readable Parquet file ({error})", file=path.name)
        return None
    for name in binary:
        remedy = "remove the column"
        if path.stem == "profiles":
            command = f"python -m style_match.prepare source={path.parent} kind=parquet out=DATASET"
            remedy = f"make a dataset folder of it: {command}"
        faults.add(f"contains bytes or structs, no text; {remedy}", file=path.name, column=cut(name))
    header = tuple(map(plain, table.column_names))
    if binary or not _is_header_valid(path, header, required, faults):
        return None
    return Table(path, "row", header, tuple(enumerate(zip(*columns, strict=True), start=1)))


def _decoded(column: Any) -> Any:
    """An Arrow column, its bytes decoded as UTF-8; None if it cannot be written as text."""
    import pyarrow
    from pyarrow import types

    if types.is_binary(column.type) or types.is_large_binary(column.type):
        try:
            return column.cast(pyarrow.large_string())
        except pyarrow.ArrowInvalid:
            return None
    return column if is_text(column.type) else None


def is_text(kind: Any) -> bool:
    """Whether an Arrow type can be written as text: no bytes and no structs, not even in lists."""
    from pyarrow import types

    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return is_text(kind.value_type)
    if types.is_struct(kind) or types.is_map(kind):
        return False
    return not (types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def as_text(value: Any) -> str:
    """A cell of an Arrow table as text."""
    if value is None or value != value:  # null, or NaN, as pandas writes a missing number
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return plain(str(value))
