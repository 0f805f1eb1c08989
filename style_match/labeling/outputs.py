"""What a command says: before it starts, and at the end."""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from style_match.data.metadata import FILE_NAME
from style_match.data.prompt import classes_told
from style_match.data.schema import Schema, shortened
from style_match.labeling.answers import Estimate
from style_match.labeling.ledger import FILE_NAME as LEDGER
from style_match.labeling.ledger import Ledger, LedgerRecord, has_written
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, write_whole

# What is written beside the ledger: metadata.jsonl, and failed.csv with the photos that have no answer and why.


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


MAX_NAMED = 10


def said_before(num_requests: int, estimate: Estimate | None, *, num_at_work: int = 0) -> str:
    """What is about to be asked, and what it will cost.

    Args:
        num_at_work: requests beside them that an earlier command sent.
    """
    if num_at_work:
        collected = f"{num_at_work} requests are in batches of an earlier run: collected, not sent again"
        return f"{said_before(num_requests, estimate) if num_requests else 'to ask: nothing else'}; {collected}"
    if not num_requests:
        return "to ask: nothing, every answer is stored"
    if estimate is None:
        return f"to ask: {num_requests} photos; nothing is paid for it"
    cost = "price unknown" if estimate.cost_usd is None else f"${estimate.cost_usd:.4f}"
    tokens = f"about {estimate.input_tokens} tokens in, {estimate.output_tokens} out"
    return f"to ask: {num_requests} photos, {tokens}, {cost}" + (f" ({estimate.note})" if estimate.note else "")


def said_after(record: LedgerRecord, *, paid: bool) -> str:
    """What was asked by this command, and what it cost."""
    kinds = ", ".join(f"{number} {kind.value}" for kind, number in sorted(record.kinds.items())) or "no answers"
    said = [f"this command: {record.num_sent} requests sent, {kinds}"]
    if paid or record.num_sent:
        used = record.usage
        said.append(f"{used.input_tokens} tokens in ({used.cached_tokens} cached), {used.output_tokens} out")
    if paid:
        earlier = f" (${record.earlier_usd:.4f} of it for requests of an earlier run)" if record.earlier_usd else ""
        said.append(f"${record.cost_usd:.4f}{earlier}")
    if record.num_uncounted:
        said.append(f"without {record.num_uncounted} answers whose tokens the server did not count")
    return "; ".join(said)


def counts(schema: Schema, lines: Mapping[str, Mapping[str, Any]], num_photos: int, title: str) -> str:
    """How many photos have each class of each nominal attribute, those without any too."""
    rows = [f"{schema.name} labels of {len(lines)} of {num_photos} photos, {title}"]
    for attribute in schema.nominal:
        found = Counter(line.get(attribute) for line in lines.values())
        rows += ["", attribute]
        width = max(map(len, schema.class_names(attribute)))
        for name in schema.class_names(attribute):
            share = 100 * found[name] / max(len(lines), 1)
            rows.append(f"  {name:<{width}}  {found[name]:>6}  {share:5.1f} %")
        if lacking := len(lines) - sum(found[name] for name in schema.class_names(attribute)):
            rows.append(f"  {'(none)':<{width}}  {lacking:>6}")
    return "\n".join(rows)


def said_failures(failures: Sequence[Failure]) -> list[str]:
    """One line a kind, with the first photos of it."""
    by_kind: dict[str, list[str]] = {}
    for one in failures:
        by_kind.setdefault(one.status, []).append(one.image)
    return [f"{kind}: {len(images)} ({shortened(images, most=MAX_NAMED)})" for kind, images in by_kind.items()]


def telling(schema: Schema, lines: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Images whose other attributes tell the class that is trained on; prompts with metadata refuse them."""
    if schema.label is None or schema.label not in schema.attributes:
        return []
    classes = schema.class_names(schema.label)
    return [
        image
        for image, line in lines.items()
        if set(line) - {schema.label} and classes_told(line, classes, leave_out=[schema.label])
    ]
