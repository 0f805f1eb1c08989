"""Tables of a dataset folder: CSV or Parquet, every cell as text, every row with its place in the file."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from style_match.data.records import SPLITS, Faults, nearest
from style_match.utils.files import read_cell
from style_match.utils.text import cut, plain, shown

STEMS = ("profiles", "couples")
SEPARATORS = ",;\t"
MOST_NAMES = 1000  # characters of a list of columns in a message
ID_COLUMNS = ("profile_id", "female_id", "male_id", "left_id", "right_id", "user_id")
_ROUNDED = re.compile(r"[+-]?\d+(\.\d+)?[eE]\+\d+|\d{16,}\.0+")
_SHEET_DIGITS, _SURE = 15, 6  # digits that a spreadsheet keeps; zeros after them that are no chance
_PREPARE = "python -m style_match.prepare source={} kind=parquet out=DATASET"
_SEP_LINE = re.compile(r'"?sep=([^"\w\s]|\t)"?', re.IGNORECASE)  # what spreadsheets write and read above the header


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


def read_table(folder: Path, stem: str, required: tuple[tuple[str, ...], ...], faults: Faults) -> Table | None:
    """Reads `stem`.csv or `stem`.parquet; what is wrong goes to `faults`, None when nothing can be read from it.

    `required` lists sets of columns, one of which must be there.
    """
    found = [folder / f"{stem}{suffix}" for suffix in (".csv", ".parquet") if (folder / f"{stem}{suffix}").exists()]
    if not found:
        others = (path.name for path in folder.iterdir() if path.stem not in STEMS)
        hint = nearest(f"{stem}.csv", others)
        faults.add(f"neither {stem}.csv nor {stem}.parquet is there{hint}; write one with {', '.join(required[0])}")
        return None
    if len(found) == 2:
        faults.add(f"{stem}.csv and {stem}.parquet are both there; remove one, it is not clear which one counts")
        return None
    if _is_no_file(found[0], faults):
        return None
    if found[0].suffix == ".parquet":
        table = _read_parquet(found[0], faults)
        if table is None or not _header_is_sound(table, required, faults):
            return None
    else:
        table = _read_csv(found[0], required, faults)
        if table is None:
            return None
    if not table.rows:
        faults.add("has a header but no rows", file=table.path.name)
        return None
    return table if _ids_are_whole(table, required, faults) else None


def _header_is_sound(table: Table, required: tuple[tuple[str, ...], ...], faults: Faults) -> bool:
    before, name = len(faults), table.path.name
    for position, column in enumerate(table.header, start=1):
        if not column:
            faults.add(
                f"column {position} has no name; name or remove it (pandas: to_csv(..., index=False))", file=name
            )
        elif column in table.header[: position - 1]:
            faults.add("stands twice in the header; rename one", file=name, column=cut(column))
    wanted = max(required, key=lambda columns: sum(column in table.header for column in columns))
    others = [column for column in table.header if column not in wanted]
    for column in wanted:
        if column not in table.header:
            there = cut(", ".join(table.header), MOST_NAMES)
            faults.add(f"no column {column!r}{nearest(column, others)}; the columns are {there}", file=name)
    return len(faults) == before


def _ids_are_whole(table: Table, required: tuple[tuple[str, ...], ...], faults: Faults) -> bool:
    """Adds a fault for each column of ids that a program stored as numbers and rounded: what follows is no fault."""
    before = len(faults)
    asked = {column for columns in required for column in columns}
    for position, column in enumerate(table.header):
        if column in ID_COLUMNS or column in asked:
            cells = [cells[position] for _, cells in table.rows]
            if bad := rounded(cells):
                place = table.place(table.rows[bad[0]][0])
                faults.add(said_rounded(cells, bad), file=table.path.name, place=place, column=column)
    return len(faults) == before


def rounded(ids: Sequence[str]) -> list[int]:
    """Positions of ids that are numbers which lost digits when a program stored them as such.

    Written with an exponent (`1.23e+18`), as a fraction beyond the digits of a double, or (all long ids of a column)
    with zeros for every digit after the fifteenth, as spreadsheets do.
    """
    found = [place for place, each in enumerate(ids) if _ROUNDED.fullmatch(each)]
    long = [place for place, each in enumerate(ids) if len(each) > _SHEET_DIGITS and each.isdecimal()]
    ends = "".join(ids[place][_SHEET_DIGITS:] for place in long)
    return found or (long if len(ends) >= _SURE and not ends.strip("0") else [])


def said_rounded(ids: Sequence[str], bad: Sequence[int]) -> str:
    """The fault, for the first of the ids at fault."""
    return (
        f"{shown(ids[bad[0]])} is a rounded number, and so are {len(bad)} of {len(ids)} ids: the column was stored as "
        "numbers, which lost digits. Write it again as text, from where the ids come from"
    )


def csv_layout(text: str, columns: Sequence[str]) -> tuple[str, int]:
    """The separator of a CSV text, and its number of lines above the header: 1 where the first is `sep=,`, else 0.

    The separator is the one that the first line names, else the one of `,`, `;` and tab that separates most of
    `columns` in the header, of equal ones the first.
    """
    first = re.split(r"[\r\n]", text, maxsplit=1)[0]
    if named := _SEP_LINE.fullmatch(first):
        return named[1], 1

    def num_known(separator: str) -> int:
        return sum(plain(cell.strip('" ')) in columns for cell in first.split(separator))

    return max(SEPARATORS, key=num_known), 0


def _read_csv(path: Path, required: tuple[tuple[str, ...], ...], faults: Faults) -> Table | None:
    """Rows may end after their last filled cell, and a row without any is none, as spreadsheets write them."""
    text = read_text(path, faults)
    if text is None:
        return None
    separator, above = csv_layout(text, [column for columns in required for column in columns])
    # strict: an unclosed quote is an error here, not one huge cell that swallows the rows after it
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records: list[tuple[int, list[str]]] = []
    begins = 1
    try:
        for cells in reader:
            if reader.line_num > above and any(cells := [plain(read_cell(cell.strip())) for cell in cells]):
                records.append((begins, cells))
            begins = reader.line_num + 1
    except csv.Error as error:
        faults.add(f"is not CSV from here on ({error}); is a quote left open?", file=path.name, place=f"line {begins}")
        return None
    if not records:
        faults.add("is empty", file=path.name)
        return None
    width = max(_filled(cells) for _, cells in records)
    header = records[0][1]
    header = header[: max(_filled(header), min(width, len(header)))]  # columns without any cell are none
    rows = [(line, tuple(cells[: len(header)]) + ("",) * (len(header) - len(cells))) for line, cells in records[1:]]
    table = Table(path, "line", tuple(header), tuple(rows))
    if not _header_is_sound(table, required, faults):
        return None  # what is wrong with the rows may follow from it
    name = {",": "a comma", ";": "a semicolon", "\t": "a tab"}.get(separator, repr(separator))
    for line, cells in records[1:]:
        if _filled(cells) > len(header):
            what = f"{_filled(cells)} cells under {len(header)} columns; quote a cell that holds {name}"
            faults.add(what, file=path.name, place=f"line {line}")
    return table


def _filled(cells: Sequence[str]) -> int:
    """The number of cells up to the last that is not empty."""
    return max((position for position, cell in enumerate(cells, start=1) if cell), default=0)


def read_text(path: Path, faults: Faults) -> str | None:
    """The text of a UTF-8 file, with or without a byte order mark; None and a fault for any other encoding."""
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
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        faults.add(f"byte {data[error.start]:#04x} is not UTF-8; {remedy}", file=path.name, place=f"line {line}")
        return None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        faults.add(f"holds a NUL byte, so it is not UTF-8 text; {remedy}", file=path.name, place=f"line {line}")
        return None
    return text


def _is_no_file(path: Path, faults: Faults) -> bool:
    """Adds a fault for what is there and is no file; a pipe would be waited for."""
    if not path.exists() or path.is_file():
        return False
    faults.add("is not a file but a folder or a pipe; replace it, or remove it", file=path.name)
    return True


def _read_parquet(path: Path, faults: Faults) -> Table | None:
    import pyarrow
    from pyarrow import parquet

    try:
        # one file, read as it stands: no partition columns from the names of its folders
        with parquet.ParquetFile(path) as file:
            table = file.read()
        if others := [name for name, column in zip(table.column_names, table.columns, strict=True) if _no_text(column)]:
            remedy = "remove the column"
            if path.stem == "profiles":
                remedy = f"make a dataset folder of it: {_PREPARE.format(path.parent)}"
            for name in others:
                faults.add(f"holds bytes or structs, no text; {remedy}", file=path.name, column=cut(name))
            return None
        columns = [[_as_text(value) for value in column.to_pylist()] for column in table.columns]
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        faults.add(f"is not a readable Parquet file ({error})", file=path.name)
        return None
    rows = tuple(enumerate(zip(*columns, strict=True), start=1))
    return Table(path, "row", tuple(map(plain, table.column_names)), rows)


def _no_text(column: Any) -> bool:
    """Whether an Arrow column cannot be written as text; bytes can where they are UTF-8."""
    import pyarrow
    from pyarrow import types

    if not (types.is_binary(column.type) or types.is_large_binary(column.type)):
        return not is_text(column.type)
    try:
        column.cast(pyarrow.large_string())
    except pyarrow.ArrowInvalid:
        return True
    return False


def is_text(kind: Any) -> bool:
    """Whether the cells of a column of this Arrow type are texts: no bytes and no structs, also not in lists."""
    from pyarrow import types

    if types.is_dictionary(kind) or types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return is_text(kind.value_type)
    if types.is_struct(kind) or types.is_map(kind):
        return False
    return not (types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


def _as_text(value: Any) -> str:
    if value is None or value != value:  # null, or NaN, as pandas writes a missing number
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return plain(value.decode("utf-8"))
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return plain(str(value))


def read_given_splits(table: Table, faults: Faults, *, all_three: bool) -> dict[int, str] | None:
    """Row number to split; None when no row names one, or when what they name is at fault.

    With `all_three` each of train, val and test must have a row.
    """
    if "split" not in table.header:
        return None
    name, before = table.path.name, len(faults)
    cells = {row: record["split"] for row, record in table.records()}
    if not any(cells.values()):
        return None
    for row, word in cells.items():
        if not word:
            faults.add(
                "the cell is missing but other rows name a split; fill in every row or leave the column out",
                file=name,
                place=table.place(row),
                column="split",
            )
        elif word not in SPLITS:
            what = f"{shown(word)} is none of {', '.join(SPLITS)}{nearest(word, SPLITS)}"
            faults.add(what, file=name, place=table.place(row), column="split")
    if len(faults) == before and all_three:
        for split in SPLITS:
            if split not in cells.values():
                faults.add(f"no row is in split {shown(split)}; each split needs rows", file=name, column="split")
    return cells if len(faults) == before else None
