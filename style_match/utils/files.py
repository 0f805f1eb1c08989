"""Files: atomic writes, locks, Unicode forms of names, CSV that is safe in spreadsheets, bounded YAML and JSON."""

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from style_match.utils.errors import UserError
from style_match.utils.text import plain


def on_disk(path: Path) -> Path:
    """The path with the Unicode forms that the disk has.

    macOS writes Hangul and accents decomposed; other systems keep the two forms apart. A name that does not exist is
    replaced by the only name in its folder that differs in Unicode form.
    """
    if str(path).isascii() or os.path.lexists(path):
        return path
    found = Path(path.anchor)
    for part in path.relative_to(path.anchor).parts:
        if not os.path.lexists(found / part):
            try:
                alike = [name for name in os.listdir(found) if plain(name) == plain(part)]
            except OSError:
                alike = []
            part = alike[0] if len(alike) == 1 else part
        found /= part
    return found


UNFINISHED = ".*.[0-9]*.tmp"  # temporary files of `replace_whole`, left by killed processes


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files of killed processes. Call it only while no other process writes to the folder."""
    for path in folder.glob(UNFINISHED):
        path.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str, *, remedy: str = "Free some space or choose another folder.") -> None:
    """Write a file atomically: a killed process leaves the old file or the new one.

    Args:
        remedy: last sentence of the error message.

    Raises:
        UserError: the disk is full or the folder cannot be written; the old file stays.
    """
    try:
        replace_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"Cannot write {path}: {reason}. {remedy}") from error


def replace_whole(path: Path, content: bytes) -> None:
    """`write_whole` that raises OSError as the operating system reports it; the old file stays."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # otherwise a power cut may leave the new name without its content
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def cache_root() -> Path:
    """`$STYLE_MATCH_CACHE`, or `~/.cache/style_match`."""
    return Path(os.environ.get("STYLE_MATCH_CACHE") or "~/.cache/style_match").expanduser()


def hold(path: Path, *, wait: bool = False) -> IO[str] | None:
    """Create and lock a file until it is closed or the process ends.

    While another process has the lock, `wait` for it or return None.

    Raises:
        OSError: the file cannot be created or locked.
    """
    import fcntl

    file = open(path, "a")  # noqa: SIM115 - open as long as the lock is needed
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BaseException as error:
        file.close()
        if isinstance(error, BlockingIOError):
            return None
        raise
    return file


# CSV whose cells are no formulas. Spreadsheet programs may read these starts as one (wide forms: East Asian versions).
_FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def as_csv(header: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """The text of a CSV file; `read_cell` gives back the cells.

    A text that begins like a formula gets an apostrophe in front, which spreadsheet programs read as "text". Numbers
    stay as they are.
    """
    content = io.StringIO(newline="")
    minimal = csv.writer(content, lineterminator="\n")
    quoted = csv.writer(content, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in (header, *rows):
        cells = [_cell(value) for value in row]
        has_return = any(isinstance(cell, str) and "\r" in cell for cell in cells)  # `minimal` does not quote these
        (quoted if has_return else minimal).writerow(cells)
    return content.getvalue()


def read_cell(cell: str) -> str:
    """A cell of a CSV file without the apostrophe that `as_csv` added."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _cell(value: Any) -> Any:
    is_formula = isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{value}" if is_formula else value


MAX_DEPTH = 50
MAX_BYTES = 2**24


class Unbounded(ValueError):
    """The text has aliases, or is too large or too deeply nested."""


def read_yaml(path: Path) -> Any:
    """The content of a YAML file, as OmegaConf reads it.

    Raises:
        OSError: it cannot be read, or holds a single value.
        ValueError: it is not UTF-8, has aliases or invalid interpolations, or is too large or too deeply nested.
        yaml.YAMLError: it is not YAML.
    """
    text, depth = _text(path), 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise Unbounded(f"line {line} has the alias *{event.anchor}; replace it by its value")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise Unbounded(f"line {line} is nested more than {MAX_DEPTH} levels deep")
    try:
        return OmegaConf.to_container(OmegaConf.load(io.StringIO(text)), resolve=False)
    except OmegaConfBaseException as error:
        raise ValueError(str(error)) from error


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: the file cannot be read.
        ValueError: not JSON, not UTF-8, or too large or too deeply nested (`Unbounded`).
    """
    try:
        content = json.loads(_text(path))
        is_deep = _is_deeper(content, MAX_DEPTH)
    except RecursionError:
        is_deep = True
    if is_deep:
        raise Unbounded(f"it is nested more than {MAX_DEPTH} levels deep")
    return content


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def _text(path: Path) -> str:
    if (size := path.stat().st_size) > MAX_BYTES:
        raise Unbounded(f"it has {size} bytes, more than {MAX_BYTES}")
    return path.read_text(encoding="utf-8")
