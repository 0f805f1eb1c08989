"""labeler=replay: answers from a file that recorded them, a metadata.jsonl or a ledger; nobody is asked."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from style_match.data.faults import Faults
from style_match.data.metadata import parse_line
from style_match.data.table import read_text
from style_match.errors import UserError
from style_match.labeler.answer import Answer, Estimate, Progress, Record, Status, Task
from style_match.labeler.ledger import FILE_NAME, read_values
from style_match.labeler.request import Request
from style_match.schema import Schema
from style_match.spelling import shown

_SQLITE = b"SQLite format 3\0"
_AT_ONCE = 256


class Replay:
    """Answers of a metadata.jsonl are found by the image's name, those of a labels.sqlite by the photo's bytes.

    Args:
        file: either of them.

    Raises:
        UserError: no such file, broken or doubled lines, the ledger that is being written.
    """

    def __init__(self, *, file: str, task: Task):
        path = Path(file).expanduser()
        try:
            content = path.read_bytes()
        except OSError as error:
            remedy = "Name a metadata.jsonl or labels.sqlite."
            raise UserError(f"labeler.file={file}: cannot be read ({error.strerror}). {remedy}") from error
        self._schema = task.schema
        self._by_name: Mapping[str, dict[str, Any]] = {}
        self._by_photo: Mapping[str, dict[str, Any]] = {}
        if content.startswith(_SQLITE):
            if path.resolve() == (task.out / FILE_NAME).resolve():
                raise UserError(f"labeler.file={file} is the ledger of out itself. Replay it into another out.")
            self._by_photo = read_values(path)
        else:
            self._by_name = _of_lines(path, Faults(path.parent, task.max_faults_shown))
        self._identity = {"labeler": "replay", "file": hashlib.sha256(content).hexdigest()}

    def at_work(self, requests: Sequence[Request]) -> frozenset[str]:
        return frozenset()

    def identity(self) -> dict[str, Any]:
        return self._identity

    def estimate(self, requests: Sequence[Request]) -> Estimate | None:
        return None

    def preview(self, request: Request) -> dict[str, Any]:
        return {"labeler": "replay", "recorded": self._find(request)}

    def label(self, requests: Sequence[Request], record: Record, progress: Progress) -> None:
        tell_all(requests, self._answer, record, progress)

    def _answer(self, request: Request) -> Answer:
        return recorded(self._schema, self._find(request), "the file has no answer for it")

    def _find(self, request: Request) -> dict[str, Any] | None:
        names = (image for image in request.images if image in self._by_name)
        return self._by_photo.get(request.sha256) or self._by_name.get(next(names, ""))


def tell_all(
    requests: Sequence[Request], answer: Callable[[Request], Answer], record: Record, progress: Progress
) -> None:
    """Answers that cost nothing, stored some at a time."""
    for start in range(0, len(requests), _AT_ONCE):
        some = requests[start : start + _AT_ONCE]
        record.answered_all([(request, answer(request)) for request in some])
        progress(start + len(some), len(requests))


def recorded(schema: Schema, values: Mapping[str, Any] | None, lacking: str) -> Answer:
    """What is known about a photo as an answer: an error where nothing is, invalid where the schema asks for more."""
    if values is None:
        return Answer(Status.ERROR, detail=lacking)
    try:
        return Answer(Status.ANSWERED, schema.check(values))
    except ValueError as error:
        return Answer(Status.INVALID, detail=str(error))


def _of_lines(path: Path, faults: Faults) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    line_of: dict[str, int] = {}
    for line, content in enumerate((read_text(path, faults) or "").split("\n"), start=1):
        if not content.strip():
            continue
        values = parse_line(content)
        if isinstance(values, str):
            faults.add(values, file=path.name, place=f"line {line}")
            continue
        image = values.pop("image")
        if (earlier := line_of.setdefault(image, line)) != line:
            what = f"image {shown(image)} has an answer already in line {earlier}; remove one"
            faults.add(what, file=path.name, place=f"line {line}")
        found[image] = values
    faults.raise_if_any()
    if not found:
        raise UserError(f"labeler.file={path} holds no answers. Name a metadata.jsonl or labels.sqlite.")
    return found
