"""YAML and JSON of unknown origin: no aliases, bounded in size and in depth."""

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

# Files that are written whole or not at all.


def on_disk(path: Path) -> Path:
    """The path as the disk spells it: a missing name is replaced by the only one that differs in Unicode form.

    macOS writes Hangul and accents decomposed, and other systems keep the two forms apart.
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


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left beside the files they were writing; only where no other process writes."""
    for path in folder.glob(".*.[0-9]*.tmp"):
        path.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | str, *, remedy: str = "Free some space or choose another folder.") -> None:
    """Write a file beside its place and rename it there, so that a killed process leaves the old one or the new one.

    Args:
        remedy: what the user is told to do where it cannot be written.
    Raises:
        UserError: the disk is full, or the folder cannot be written; the old file stays.
    """
    try:
        replace_whole(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"Cannot write {path}: {reason}. {remedy}") from error


def replace_whole(path: Path, content: bytes) -> None:
    """`write_whole` for those who say themselves what to do about an error.

    Raises:
        OSError: as the operating system reports it; like an interrupt, it leaves nothing beside the old file.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)  # else a power cut may leave the new name without its content
        finally:
            os.close(descriptor)
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def cache_root() -> Path:
    """`$STYLE_MATCH_CACHE`, or `~/.cache/style_match`."""
    return Path(os.environ.get("STYLE_MATCH_CACHE") or "~/.cache/style_match").expanduser()


# A file that one process at a time may hold.


def hold(path: Path) -> IO[str] | None:
    """The file, made where it is not there, locked until it is closed or the process ends, however it ends.

    None where another process holds it. Raises OSError where it cannot be made or locked.
    """
    import fcntl

    file = open(path, "a")  # noqa: SIM115 - open as long as it is held
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except BaseException:
        file.close()
        raise
    return file


# CSV as the project writes it: no cell is a formula for a spreadsheet program.


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
        OSError: it cannot be read.
        ValueError: it is no JSON, is not UTF-8, or is too large or too deeply nested (`Unbounded`).
    """
    text = _text(path)
    try:
        content = json.loads(text)
    except RecursionError:
        raise Unbounded(f"it is nested more than {MAX_DEPTH} levels deep") from None
    level, depth = [content], 0
    while level:
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        depth += 1
        if depth > MAX_DEPTH:
            raise Unbounded(f"it is nested more than {MAX_DEPTH} levels deep")
    return content


def _text(path: Path) -> str:
    if (size := path.stat().st_size) > MAX_BYTES:
        raise Unbounded(f"it has {size} bytes, more than {MAX_BYTES}")
    return path.read_text(encoding="utf-8")
