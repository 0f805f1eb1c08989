"""What a command says: before it starts, and at the end."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from style_match.labeler.answer import Estimate
from style_match.labeler.record import LedgerRecord
from style_match.labeler.written import Failure
from style_match.prompt import classes_told
from style_match.schema import Schema, shortened

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
