"""Paths and texts on the command line, in the quotes that Hydra's grammar needs to read them as typed."""

import os
import re
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from style_match.utils.files import on_disk
from style_match.utils.text import plain

# options that hold a path
PATHS = frozenset(
    (
        *("data.root", "data.image_root", "split.store", "features.root", "index.root", "backbone.path"),
        *("run", "ckpt_path", "hydra.run.dir", "hydra.sweep.dir", "sweep", "out", "model", "runs"),
        *("images", "profiles", "labeler.file", "labeler.folder", "labeler.audit"),
        *("source", "metadata", "couples", "image_root"),
    )
)
TEXTS = frozenset(("query", "where", "report.against"))  # options that hold a text
IDS = frozenset(("profile",))  # options that hold an id or a list of ids, which may look like numbers or null
_ITEM = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|[^,]+')
_BEFORE_QUOTE = re.compile(r'(\\*)"')
_INTERPOLATION = re.compile(r"(\\*)\$\{")


def path_as_value(line: str) -> str:
    """Return an override, its value quoted where it is a text or a path that Hydra would read as something else.

    A path is spelled as the disk has it; other words in the Unicode form of tables and metadata (`plain`).
    """
    name = line.partition("=")[0].lstrip("+")
    if name not in PATHS | TEXTS and not name.startswith("prompt."):
        line = plain(line)
    key, equals, value = line.partition("=")
    if not equals or (value in ("", "null", "???") and name not in IDS):
        return line
    if name in IDS:
        return f"{key}={_as_texts(value)}"
    if name in TEXTS:
        return f"{key}={as_text(value)}"
    if name in PATHS and not _reads_as_path(line, value):
        return f"{key}={as_text(str(on_disk(Path(value))))}"
    return line


def as_text(value: str) -> str:
    """Return a value in quotes (if it has none), in which `${` is not an interpolation."""
    value = value if _is_quoted(value) else quoted(value)
    return _INTERPOLATION.sub(lambda found: 2 * found[1] + r"\${", value)


def quoted(value: str) -> str:
    """Return a value in quotes, read back by Hydra's grammar whatever characters it contains."""
    behind = len(value) - len(value.rstrip("\\"))  # a backslash before the closing quote would escape it
    return '"' + _BEFORE_QUOTE.sub(r'\1\1\\"', value) + "\\" * behind + '"'


def _reads_as_path(line: str, path: str) -> bool:
    """Whether Hydra reads the value of an override as this path, or as a list, sweep or interpolation instead."""
    try:
        value = OverridesParser.create().parse_override(line).value()
    except HydraException:
        return False
    if _is_quoted(path) or (value == path and path.isascii() and "${" not in path):
        return True
    return not (isinstance(value, bool | int | float) or os.path.lexists(on_disk(Path(path))))


def _as_texts(value: str) -> str:
    """`as_text` of a value, or of the items of a list in brackets."""
    if value.startswith("[") and value.endswith("]"):
        items = (item.strip() for item in _ITEM.findall(value[1:-1]))
        return f"[{','.join(_as_texts(item) for item in items if item)}]"
    return as_text(value)


def _is_quoted(value: str) -> bool:
    """Return whether a value is one text in quotes, as Hydra's grammar has it."""
    if value[:1] not in ("'", '"'):
        return False
    try:
        return isinstance(OverridesParser.create().parse_override(f"text={value}").value(), str)
    except HydraException:
        return False
