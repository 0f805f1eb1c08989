"""Writing a matcher folder: whole or not at all."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from style_match.errors import UserError
from style_match.files import write_whole
from style_match.matcher.folder import ABOUT


def refuse_other_content(out: Path, run_id: str) -> None:
    """Refuse a place that holds anything but an earlier export of the same run.

    Raises:
        UserError: it is a file, or not empty.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file: name a folder.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / ABOUT).is_file():
        raise UserError(f"out={out} is not empty and holds no matcher: name another folder.")
    try:
        was = json.loads((out / ABOUT).read_text(encoding="utf-8"))
        is_same = was["run"]["id"] == run_id
    except (ValueError, KeyError, TypeError):
        is_same = False
    if not is_same:
        raise UserError(f"out={out} holds the matcher of another run, or a damaged one: name another folder.")


def write_matcher(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into a new folder at once, or over those of an earlier export of the same run.

    Raises:
        UserError: the place cannot be written.
    """
    if (out / ABOUT).is_file():
        for name, content in files.items():
            write_whole(out / name, content, remedy="Give another out.")
        return
    beside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        beside.mkdir(parents=True)
        for name, content in files.items():
            write_whole(beside / name, content, remedy="Give another out.")
        beside.rename(out)
    except OSError as error:
        raise UserError(f"Cannot write out={out}: {error.strerror}. Give another out.") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)
