"""What is written beside the ledger: metadata.jsonl, and failed.csv with the photos that have no answer and why."""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from style_match.csvs import as_csv
from style_match.data.metadata import FILE_NAME
from style_match.errors import UserError
from style_match.files import write_whole
from style_match.labeler.ledger import FILE_NAME as LEDGER
from style_match.labeler.ledger import Ledger, has_written

FAILED = "failed.csv"
DRY_RUN = "dry_run.jpg"
OWN_FILES = (FILE_NAME, FAILED, LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm")
_HEADER = ("image", "status", "detail", "attempts")  # of failed.csv
REMEDY = "Free some space, or mend its permissions, and run again: answers that were stored are kept."


@dataclass(frozen=True)
class Failure:
    """A photo without an answer of this schema: `status` is a `Status`, "no consent" or "unreadable"."""

    image: str
    status: str
    detail: str
    attempts: int


def is_dry_run(path: Path) -> bool:
    """Whether a photo is what an earlier dry run wrote beside its ledger, not one of the user's."""
    try:
        return path.is_file() and has_written(path.with_name(LEDGER), _hash(path.read_bytes()))
    except OSError:
        return False


def write_dry_run(out: Path, ledger: Ledger, jpeg: bytes) -> Path:
    """Write dry_run.jpg. Raises UserError where a photo of the user's is called so."""
    path = out / DRY_RUN
    if path.exists() and not is_dry_run(path):
        raise UserError(f"{path} is no file of a dry run: it is not overwritten. Rename it, or give another out.")
    ledger.will_write(_hash(jpeg))
    write_whole(path, jpeg, remedy=REMEDY)
    return path


def refuse_foreign(out: Path, images: Path, ledger: Ledger) -> set[str]:
    """The images of the metadata.jsonl that is about to be replaced.

    Raises:
        UserError: it is not of this ledger, or it is about the photos of another folder; or failed.csv is another's.
    """
    _refuse_foreign_list(out / FAILED)
    path = out / FILE_NAME
    try:
        content = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}). Mend its permissions, or give another out."
        ) from error
    if content is not None and not ledger.has_written(_hash(content)):
        raise UserError(
            f"{path} was written by hand or changed since: it is not overwritten. Move it away, or give another out. "
            f"(labeler=replay labeler.file={path} takes answers from it.)"
        )
    root, before = os.path.relpath(images.resolve(), out.resolve()), ledger.note("images")
    if content and before not in (None, root):
        raise UserError(
            f"{path} is about the photos below {os.path.normpath(out / str(before))}, not {images}. Give another out, "
            "or, where the photos have moved, move it away: the answers stay in the ledger."
        )
    ledger.note("images", root)
    return {json.loads(line)["image"] for line in (content or b"").splitlines()}


def _refuse_foreign_list(path: Path) -> None:
    try:
        head = path.read_bytes().split(b"\n", 1)[0].strip() if path.exists() else None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Mend it, or give another out.") from error
    if head is not None and head != ",".join(_HEADER).encode():
        raise UserError(f"{path} is not of this step: it is not overwritten. Rename it, or give another out.")


def write_metadata(out: Path, ledger: Ledger, sha256: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Write metadata.jsonl: one line for each image that has an answer, in the order of `sha256` (image -> hash).

    Returns:
        image -> attributes, as written.
    """
    by_photo = ledger.values()
    lines = {image: by_photo[photo] for image, photo in sha256.items() if photo in by_photo}
    rows = [json.dumps({"image": image, **values}, ensure_ascii=False) for image, values in lines.items()]
    content = "".join(f"{row}\n" for row in rows).encode()
    ledger.will_write(_hash(content))
    write_whole(out / FILE_NAME, content, remedy=REMEDY)
    return lines


def write_failed(out: Path, failures: Sequence[Failure]) -> None:
    """Write failed.csv; the header alone where nothing failed."""
    rows = ((one.image, one.status, one.detail, one.attempts) for one in failures)
    write_whole(out / FAILED, as_csv(_HEADER, rows), remedy=REMEDY)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
