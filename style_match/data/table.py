"""Tables of a dataset folder: CSV or Parquet, every cell as text, every row with its place in the file."""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from style_match.data.faults import Faults, nearest

STEMS = ("profiles", "couples")


@dataclass(frozen=True)
class Table:
    """`rows` are (number, cells): the line a CSV row begins on (the header is line 1), a Parquet row from 1."""

    path: Path
    unit: str  # "line" or "row"
    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]

    def records(self) -> Iterator[tuple[int, dict[str, str]]]:
        """(row number, {column: cell}); spaces around a cell are not part of it, a missing cell is ""."""
        for number, cells in self.rows:
            yield number, dict(zip(self.header, cells, strict=True))

    def place(self, row: int) -> str:
        return f"{self.unit} {row}"


def read_table(folder: Path, stem: str, required: tuple[tuple[str, ...], ...], faults: Faults) -> Table | None:
    """Reads `stem`.csv or `stem`.parquet; what is wrong goes to `faults`, None when nothing can be read from it.

    `required` lists sets of columns, one of which must be there.
    """
    found = [folder / f"{stem}{suffix}" for suffix in (".csv", ".parquet") if (folder / f"{stem}{suffix}").is_file()]
    if not found:
        others = (path.name for path in folder.iterdir() if path.stem not in STEMS)
        hint = nearest(f"{stem}.csv", others)
        faults.add(f"neither {stem}.csv nor {stem}.parquet is there{hint}; write one with {', '.join(required[0])}")
        return None
    if len(found) == 2:
        faults.add(f"{stem}.csv and {stem}.parquet are both there; remove one, it is not clear which one counts")
        return None
    table = _read_csv(found[0], faults) if found[0].suffix == ".csv" else _read_parquet(found[0], faults)
    if table is None or not _header_is_sound(table, required, faults):
        return None
    if not table.rows:
        faults.add("has a header but no rows", file=table.path.name)
        return None
    return table


def _header_is_sound(table: Table, required: tuple[tuple[str, ...], ...], faults: Faults) -> bool:
    before, name = len(faults), table.path.name
    for position, column in enumerate(table.header, start=1):
        if not column:
            faults.add(
                f"column {position} has no name; name or remove it (pandas: to_csv(..., index=False))", file=name
            )
        elif column in table.header[: position - 1]:
            faults.add("stands twice in the header; rename one", file=name, column=column)
    wanted = max(required, key=lambda columns: sum(column in table.header for column in columns))
    others = [column for column in table.header if column not in wanted]
    for column in wanted:
        if column not in table.header:
            there = ", ".join(table.header)
            faults.add(f"no column {column!r}{nearest(column, others)}; the columns are {there}", file=name)
    return len(faults) == before


def _read_csv(path: Path, faults: Faults) -> Table | None:
    text = read_text(path, faults)
    if text is None:
        return None
    # strict: an unclosed quote is an error here, not one huge cell that swallows the rows after it
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    records: list[tuple[int, list[str]]] = []
    begins = 1
    try:
        for cells in reader:
            if cells:  # a blank line is no row
                records.append((begins, [cell.strip() for cell in cells]))
            begins = reader.line_num + 1
    except csv.Error as error:
        faults.add(f"is not CSV from here on ({error}); is a quote left open?", file=path.name, place=f"line {begins}")
        return None
    if not records:
        faults.add("is empty", file=path.name)
        return None
    header = records[0][1]
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        faults.add("columns are not separated by commas; save the table with commas", file=path.name, place="line 1")
        return None
    rows = []
    for line, cells in records[1:]:
        if len(cells) == len(header):
            rows.append((line, tuple(cells)))
        elif len(cells) < len(header):
            missing = ", ".join(header[len(cells) :])
            faults.add(f"the cells of {missing} are missing; write every cell", file=path.name, place=f"line {line}")
        else:
            faults.add(
                f"{len(cells)} cells under {len(header)} columns; quote a cell that holds a comma",
                file=path.name,
                place=f"line {line}",
            )
    return Table(path, "line", tuple(header), tuple(rows))


def read_text(path: Path, faults: Faults) -> str | None:
    """The text of a UTF-8 file, with or without a byte order mark; None and a fault for any other encoding."""
    if path.exists() and not path.is_file():  # a pipe would be waited for
        faults.add("is not a file but a folder or a pipe; replace it, or remove it", file=path.name)
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


def _read_parquet(path: Path, faults: Faults) -> Table | None:
    import pyarrow
    from pyarrow import parquet

    try:
        # one file, read as it stands: no partition columns from the names of its folders
        with parquet.ParquetFile(path) as file:
            table = file.read()
        columns = [[_as_text(value) for value in column.to_pylist()] for column in table.columns]
    except (pyarrow.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
        faults.add(f"is not a readable Parquet file ({error})", file=path.name)
        return None
    rows = tuple(enumerate(zip(*columns, strict=True), start=1))
    return Table(path, "row", tuple(name.strip() for name in table.column_names), rows)


def _as_text(value: Any) -> str:
    if value is None or value != value:  # null, or NaN, as pandas writes a missing number
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode("utf-8").strip()
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value).strip()
