"""Files that are written whole or not at all."""

import contextlib
import os
from pathlib import Path

from style_match.errors import UserError
from style_match.spelling import plain


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
