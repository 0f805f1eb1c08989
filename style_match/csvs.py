"""CSV as the project writes it: no cell is a formula for a spreadsheet program."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

# What a spreadsheet program may take for a formula; the wide forms count in East Asian versions.
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def as_csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """The text of a CSV file; `read_cell` gives back the cells.

    A text that begins like a formula gets an apostrophe before it, which spreadsheet programs read as "text". Numbers
    stay as they are.
    """
    content = io.StringIO(newline="")
    plain = csv.writer(content, lineterminator="\n")
    quoting = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (header, *rows):
        cells = [_cell(value) for value in row]
        breaks = any(isinstance(cell, str) and "\r" in cell for cell in cells)  # which `plain` does not quote
        (quoting if breaks else plain).writerow(cells)
    return content.getvalue()


def read_cell(cell: str) -> str:
    """A cell of a CSV without the apostrophe that `as_csv` put before it."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _cell(value: Any) -> Any:
    is_formula = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if is_formula else value
