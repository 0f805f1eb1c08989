"""Writing a matcher folder: whole or not at all."""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from style_match.errors import UserError
from style_match.files import write_whole
from style_match.matcher.folder import ABOUT, CARD, HEAD, SEEN, TEXT, digest

OWN = frozenset({ABOUT, HEAD, CARD, SEEN, TEXT})


def refuse_other_content(out: Path, run_id: str) -> None:
    """Refuse a place that holds anything but an earlier export of the same run, or a damaged one and nothing else.

    Raises:
        UserError: it is a file, not empty, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"out={out} is a file: name a folder.")
    _refuse_unwritable(out)
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / ABOUT).is_file():
        raise UserError(f"out={out} is not empty and holds no matcher: name another folder.")
    was = _read_about(out / ABOUT)
    if was is None and (others := sorted({path.name for path in out.iterdir()} - OWN)):
        raise UserError(
            f"out={out} holds a damaged matcher and other files ({', '.join(others[:3])}): name another "
            "folder, or move those files away, and it is overwritten."
        )
    if was is not None and was["run"]["id"] != run_id:
        raise UserError(f"out={out} holds the matcher of another run: name another folder, or delete that one.")


def _refuse_unwritable(out: Path) -> None:
    """Make a folder where the matcher will be written, or beside it, and remove it again."""
    top = next(each for each in (out, *out.absolute().parents) if each.exists())
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".style_match_", dir=top))
    except OSError as error:
        raise UserError(f"Cannot write out={out}: {error.strerror}. Give another out.") from error


def _read_about(file: Path) -> dict[str, Any] | None:
    """matcher.json; None where it is damaged."""
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        return about if about["digest"] == digest(about) and "id" in about["run"] else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write_matcher(out: Path, files: Mapping[str, bytes]) -> None:
    """Write the files into a new folder at once, or over those of an earlier export, which may be damaged.

    Raises:
        UserError: the place cannot be written.
    """
    if (out / ABOUT).is_file():
        for name, content in files.items():
            write_whole(out / name, content, remedy="Give another out.")
        for name in OWN - files.keys():  # of the earlier one alone
            (out / name).unlink(missing_ok=True)
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
