"""Files that the step writes beside the ledger, and what it prints."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from style_match.data.metadata import FILE_NAME
from style_match.data.prompt import classes_named
from style_match.data.schema import Schema, shortened
from style_match.labeling.answers import Estimate
from style_match.labeling.ledger import FILE_NAME as LEDGER
from style_match.labeling.ledger import Ledger, has_written
from style_match.labeling.recorder import Recorder
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, write_whole

FAILED = "failed.csv"
DRY_RUN = "dry_run.jpg"
OWN_FILES = (FILE_NAME, FAILED, LEDGER, f"{LEDGER}-wal", f"{LEDGER}-shm")
MAX_NAMED = 10  # photos in one message
_REMEDY = "Free some space or fix the permissions, and run the command again: stored answers are kept."


@dataclass(frozen=True)
class Failure:
    """Row of failed.csv; `status` is a `Status`, "no consent", "unreadable", or "unanswered"."""

    image: str
    status: str
    detail: str
    attempts: int


_FAILED_HEADER = [field.name for field in fields(Failure)]


def own_files(folder: Path) -> list[Path]:
    """Return the files of the step in a folder, which are not photos to label."""
    dry_run = [folder / DRY_RUN] if is_dry_run(folder / DRY_RUN) else []
    return [*(folder / name for name in OWN_FILES), *dry_run]


def is_dry_run(path: Path) -> bool:
    """Return whether a file was written by a dry run, and is not a photo of the user."""
    return path.is_file() and has_written(path.with_name(LEDGER), _hash(_read(path)))


def write_dry_run(out: Path, ledger: Ledger, jpeg: bytes) -> Path:
    """Write dry_run.jpg. Raises UserError if a photo of the user has this name."""
    path = out / DRY_RUN
    if path.exists() and not is_dry_run(path):
        raise UserError(f"{path} was not written by a dry run and is not overwritten. Rename it, or set another out.")
    _write(path, ledger, jpeg)
    return path


def refuse_foreign(out: Path, images: Path, ledger: Ledger) -> set[str]:
    """Check that metadata.jsonl and failed.csv may be overwritten; returns the images of the former.

    Raises:
        UserError: A file was not written by this ledger, or metadata.jsonl is about another folder of photos.
    """
    metadata, failed = (_read(out / name) if (out / name).exists() else b"" for name in (FILE_NAME, FAILED))
    if failed and failed.split(b"\n", 1)[0].strip() != ",".join(_FAILED_HEADER).encode():
        raise UserError(f"{out / FAILED} was not written by this step and is not overwritten. Rename it, or set out.")
    path = out / FILE_NAME
    if metadata and not ledger.has_written(_hash(metadata)):
        raise UserError(
            f"{path} was written or changed by hand and is not overwritten. Move it away, or set another out. "
            f"(labeler=replay labeler.file={path} uses its answers.)"
        )
    root, before = os.path.relpath(images.resolve(), out.resolve()), ledger.note("images")
    if metadata and before not in (None, root):
        raise UserError(
            f"{path} is about the photos in {os.path.normpath(out / str(before))}, not {images}. Set another out. If "
            "the photos have moved, move the file away: the answers stay in the ledger."
        )
    ledger.note("images", root)
    return {json.loads(line)["image"] for line in metadata.splitlines()}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Fix it, or set another out.") from error


def _write(path: Path, ledger: Ledger, content: bytes) -> None:
    ledger.will_write(_hash(content))
    write_whole(path, content, remedy=_REMEDY)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_metadata(out: Path, ledger: Ledger, sha256: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Write metadata.jsonl: one line for each image of `sha256` (image -> hash) that has an answer.

    Returns:
        image -> attributes, as written.
    """
    by_photo = ledger.values()
    lines = {image: by_photo[photo] for image, photo in sha256.items() if photo in by_photo}
    rows = [json.dumps({"image": image, **values}, ensure_ascii=False) for image, values in lines.items()]
    _write(out / FILE_NAME, ledger, "".join(f"{row}\n" for row in rows).encode())
    return lines


def write_failed(out: Path, failures: Sequence[Failure]) -> None:
    """Write failed.csv; only the header if nothing failed."""
    write_whole(out / FAILED, as_csv(_FAILED_HEADER, map(astuple, failures)), remedy=_REMEDY)


def describe_plan(num_requests: int, estimate: Estimate | None, *, num_pending: int = 0) -> str:
    """Describe what will be sent and what it will cost; `num_pending` requests are in batches of an earlier run."""
    pending = f"; {num_pending} requests are in batches of an earlier run: collected, not sent again"
    pending = pending if num_pending else ""
    if not num_requests:
        return f"to send: {'nothing else' if num_pending else 'nothing, all answers are stored'}{pending}"
    if estimate is None:
        return f"to send: {num_requests} photos, free of charge{pending}"
    cost = "price unknown" if estimate.cost_usd is None else f"${estimate.cost_usd:.4f}"
    tokens = f"about {estimate.input_tokens} input tokens, {estimate.output_tokens} output tokens"
    note = f" ({estimate.note})" if estimate.note else ""
    return f"to send: {num_requests} photos, {tokens}, {cost}{note}{pending}"


def describe_result(recorder: Recorder, *, paid: bool) -> str:
    """Describe what this command has sent and what it has cost."""
    statuses = ", ".join(f"{number} {status.value}" for status, number in sorted(recorder.statuses.items()))
    parts = [f"this command: {recorder.num_sent} requests sent, {statuses or 'no answers'}"]
    if paid or recorder.num_sent:
        usage = recorder.usage
        cached = f"({usage.cached_tokens} cached)"
        parts.append(f"{usage.input_tokens} input tokens {cached}, {usage.output_tokens} output tokens")
    if paid:
        earlier = recorder.earlier_cost_usd
        of_earlier = f" (${earlier:.4f} of it for requests of an earlier run)" if earlier else ""
        parts.append(f"${recorder.cost_usd:.4f}{of_earlier}")
    if recorder.num_uncounted:
        parts.append(f"without {recorder.num_uncounted} answers whose tokens the server did not count")
    return "; ".join(parts)


def counts(schema: Schema, lines: Mapping[str, Mapping[str, Any]], num_photos: int, title: str) -> str:
    """Return how many photos have each class of each attribute, and how many have none."""
    rows = [f"{schema.name} labels of {len(lines)} of {num_photos} photos, {title}"]
    for attribute in schema.nominal:
        found = Counter(line.get(attribute) for line in lines.values())
        classes = schema.class_names(attribute)
        width = max(map(len, classes))
        rows += ["", attribute]
        rows += [
            f"  {name:<{width}}  {found[name]:>6}  {100 * found[name] / max(len(lines), 1):5.1f} %" for name in classes
        ]
        if missing := len(lines) - sum(found[name] for name in classes):
            rows.append(f"  {'(none)':<{width}}  {missing:>6}")
    return "\n".join(rows)


def by_status(failures: Sequence[Failure]) -> list[str]:
    """Return one line for each status with its number and its first photos."""
    images: dict[str, list[str]] = {}
    for failure in failures:
        images.setdefault(failure.status, []).append(failure.image)
    return [f"{status}: {len(names)} ({shortened(names, most=MAX_NAMED)})" for status, names in images.items()]


def leaking(schema: Schema, lines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return images whose other attributes name the class that is trained on; prompts with metadata refuse them."""
    if schema.label is None or schema.label not in schema.attributes:
        return []
    classes = schema.class_names(schema.label)
    return [
        image
        for image, line in lines.items()
        if set(line) - {schema.label} and classes_named(line, classes, leave_out=[schema.label])
    ]
