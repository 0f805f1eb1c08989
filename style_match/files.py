"""Files that are written whole or not at all."""

import contextlib
import os
from pathlib import Path

from style_match.errors import UserError


def write_whole(path: Path, content: bytes | str) -> None:
    """Write a file beside its place and rename it there, so that a killed process leaves the old one or the new one.

    Raises:
        UserError: the disk is full, or the folder cannot be written; the old file stays.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        reason = error.strerror or error
        raise UserError(f"Cannot write {path}: {reason}. Free some space or choose another folder.") from error
