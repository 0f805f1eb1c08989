"""Batches: files of requests that the provider answers within a day at half the price."""

import asyncio
import json
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TypeVar

from openai import APIError, NotFoundError, OpenAIError
from openai.types import Batch

from style_match.labeling.answers import Answer, Request, Status
from style_match.labeling.client import NO_CREDIT, REFUSALS, RETRIED, no_credit, one_line
from style_match.labeling.interface import ENDPOINTS, loads
from style_match.labeling.session import Session
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole
from style_match.utils.progress import say

T = TypeVar("T")
FILE = "batches.json"
MAX_FILE_BYTES = 190_000_000  # the API accepts 200 MB
MAX_REQUESTS = 50_000  # of a file
MAX_ROUNDS = 3  # batches that a request without an answer is sent in
EXPIRES = {"anchor": "created_at", "seconds": 3 * 24 * 3600}  # of files that a killed run leaves at the provider
CLOCK_SKEW_S = 3600
ENDED = ("completed", "expired", "failed", "cancelled")


@dataclass
class SentBatch:
    """One batch at the provider.

    Attributes:
        tag: stored in the batch's metadata, to find it again if a run is killed before its id is noted.
        keys: of the requests.
        tokens: estimated input tokens, which count towards the account's queue.
        created_at: Unix time in seconds.
    """

    tag: str
    keys: list[str]
    tokens: int
    endpoint: str
    server: str
    created_at: int
    batch_id: str | None = None


class SentBatches:
    """Batches whose answers are not stored yet, kept in `batches.json` of the out folder."""

    def __init__(self, out: Path) -> None:
        self.path = out / FILE
        self.all: list[SentBatch] = []
        if self.path.exists():
            try:
                self.all = [SentBatch(**fields) for fields in json.loads(self.path.read_text(encoding="utf-8"))]
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{self.path} is damaged ({error}). It names the batches at the provider. Remove it to restart: "
                    "answers of these batches are lost, and paid."
                ) from error

    def save(self) -> None:
        if self.all:
            write_whole(self.path, json.dumps([asdict(batch) for batch in self.all], indent=1) + "\n")
        else:
            self.path.unlink(missing_ok=True)

    def pending(self, keys: Collection[str]) -> frozenset[str]:
        """Return those keys whose requests are in a batch."""
        return frozenset(key for batch in self.all for key in batch.keys).intersection(keys)


class Batches:
    """Sends requests as batches, waits for them, and stores their answers; resumes the batches of an earlier run.

    Args:
        out: folder of `batches.json`.
        tokens: input tokens of one request.
        max_queued_tokens: of all batches at work, a limit of the account.
        poll_s: seconds between two looks at the batches.
    """

    def __init__(self, session: Session, out: Path, *, tokens: int, max_queued_tokens: int, poll_s: float) -> None:
        self.session, self.client, self.server = session, session.client, session.server
        self.endpoint = ENDPOINTS[session.interface.api]
        self.sent = SentBatches(out)
        self.tokens = max(1, tokens)  # of one request
        self.max_queued_tokens, self.poll_s = max_queued_tokens, poll_s
        self.requests: dict[str, Request] = {}
        self.todo: deque[Request] = deque()
        self.rounds: Counter[str] = Counter()
        self.num_done = 0

    async def run(self, requests: Sequence[Request]) -> None:
        """Return when every request has an answer or failed.

        Raises:
            UserError: The error that ended the run; the next run collects the batches that are still at work.
        """
        self.requests = {request.key: request for request in requests}
        for batch in list(self.sent.all):
            await self._resume(batch)
        pending = self.sent.pending(self.requests)
        self.todo.extend(request for request in requests if request.key not in pending)
        while True:
            await self._submit_all()
            num_answered = [await self._collect(batch) for batch in self._waiting()]
            self.session.progress(min(self.num_done + sum(num_answered), len(requests)), len(requests))
            if self._waiting():
                await asyncio.sleep(self.poll_s)
            elif not self.todo:
                return

    def _waiting(self) -> list[SentBatch]:
        """Batches with requests of this run; others stay as they are."""
        return [batch for batch in self.sent.all if not self.requests.keys().isdisjoint(batch.keys)]

    async def _resume(self, batch: SentBatch) -> None:
        """Find a batch of an earlier run at the provider; if it was never created, its requests are sent again."""
        if (batch.server, batch.endpoint) != (self.server, self.endpoint):
            raise UserError(
                f"{self.sent.path}: batches were sent to {batch.server} ({batch.endpoint}). Collect them with that "
                "labeler.base_url and labeler.api, or remove the file; their answers are lost then, and paid."
            )
        if batch.batch_id is None:
            batch.batch_id = await self._call(self._find(batch))
            if batch.batch_id is None:
                self.sent.all.remove(batch)
            self.sent.save()

    async def _find(self, sent: SentBatch) -> str | None:
        async for batch in self.client.batches.list(limit=100):
            if (batch.metadata or {}).get("tag") == sent.tag:
                return batch.id
            if batch.created_at < sent.created_at - CLOCK_SKEW_S:
                break
        return None

    async def _submit_all(self) -> None:
        """Submit batches as long as they fit into the account's queue."""
        while self.todo:
            queued = sum(batch.tokens for batch in self._waiting())
            most = min(MAX_REQUESTS, (self.max_queued_tokens - queued) // self.tokens)
            if queued and most < 1:
                return
            with tempfile.TemporaryFile() as file:
                requests = await asyncio.to_thread(self._write, file, max(1, most))
                if requests:
                    await self._submit(file, requests)

    def _write(self, file: IO[bytes], max_requests: int) -> list[Request]:
        """Write the next requests as JSON lines; returns them."""
        requests: list[Request] = []
        while self.todo and len(requests) < max_requests:
            request = self.todo[0]
            try:
                body = self.session.interface.body(request, request.jpeg())
            except UserError as error:  # only this photo has changed or is gone
                self._store(self.todo.popleft(), Answer(Status.ERROR, detail=str(error)))
                continue
            row = {"custom_id": request.key, "method": "POST", "url": self.endpoint, "body": body}
            line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
            if requests and file.tell() + len(line) > MAX_FILE_BYTES:
                break
            file.write(line)
            requests.append(self.todo.popleft())
        file.seek(0)
        return requests

    async def _submit(self, file: IO[bytes], requests: Sequence[Request]) -> None:
        """Note the batch before it is created, so that a killed run finds it by its tag and does not send it twice."""
        for request in requests:
            self.session.recorder.before_sending(request)
        tag, keys = f"style_match_{uuid.uuid4().hex}", [request.key for request in requests]
        upload = self.client.files.create(file=(f"{tag}.jsonl", file), purpose="batch", expires_after=EXPIRES)  # type: ignore[arg-type]
        file_id = (await self._call(upload)).id
        batch = SentBatch(tag, keys, self.tokens * len(keys), self.endpoint, self.server, int(time.time()))
        self.sent.all.append(batch)
        self.sent.save()
        create = self.client.with_options(max_retries=0).batches.create  # a repeated call would be paid twice
        try:
            created = await self._call(
                create(
                    input_file_id=file_id,
                    endpoint=self.endpoint,  # type: ignore[arg-type]
                    completion_window="24h",
                    metadata={"tag": tag},
                    output_expires_after=EXPIRES,  # type: ignore[arg-type]
                )
            )
        except Rejected:  # the provider surely did not create it
            self.sent.all.remove(batch)
            self.sent.save()
            await self._remove(file_id)
            raise
        batch.batch_id = created.id
        self.sent.save()
        say(f"batch {batch.batch_id}: {len(keys)} requests sent; after Ctrl-C the same command continues with it")

    async def _collect(self, sent: SentBatch) -> int:
        """Store the answers of a batch that has ended; returns the number of answered requests of one at work."""
        batch = await self._call(self._retrieve(sent))
        if batch and batch.status not in ENDED:
            return batch.request_counts.completed if batch.request_counts else 0
        waiting = {key: self.requests[key] for key in sent.keys if key in self.requests}
        answer_files = [batch.output_file_id, batch.error_file_id] if batch else []
        unpaid: str | None = None
        for file_id in filter(None, answer_files):
            for line in await self._call(self._lines(sent, file_id)):
                unpaid = self._take(line, waiting) or unpaid
        errors = batch.errors.data if batch and batch.status == "failed" and batch.errors else None
        error = errors[0] if errors else None
        if not (error or unpaid):
            self._send_again(waiting.values(), f"the batch is {batch.status if batch else 'gone'}")
        self.sent.all.remove(sent)
        self.sent.save()
        for file_id in filter(None, [batch.input_file_id, *answer_files] if batch else []):
            await self._remove(file_id)
        if error and error.code in NO_CREDIT:
            unpaid = str(error.code)
        if unpaid:
            raise no_credit(self.server, unpaid)
        if error and error.code == "token_limit_exceeded" and self._waiting():
            self.todo.extend(waiting.values())  # they fit once another batch has ended
        elif error:
            reason = one_line(f"{error.code}: {error.message}", self.session.key)
            raise UserError(
                f"{self.server} rejects the batch: {reason}. If the account's queue is full, lower "
                "labeler.batch.max_queued_tokens; labeler.dry_run=true shows a request."
            )
        return 0

    def _take(self, line: bytes, waiting: dict[str, Request]) -> str | None:
        """Store the answer in one line of a file; returns a code if it is missing because of an exhausted quota."""
        try:
            row = loads(line)
            request, response = waiting[row["custom_id"]], row.get("response") or {}
            status, body = response.get("status_code"), response.get("body") or {}
            error = body.get("error") or row.get("error") or {}
            codes = {str(error.get("code")), str(error.get("type"))}
        except (ValueError, KeyError, AttributeError, TypeError):
            return None
        if status != 200 and (unpaid := codes & NO_CREDIT):
            return min(unpaid)
        if status is None or status in RETRIED or status >= 500:
            return None  # stays in `waiting` and is sent again
        if status == 200:
            answer = self.session.parse(body, request)
        else:
            detail = one_line(f"{status} {error.get('code')}: {error.get('message')}", self.session.key)
            answer = Answer(Status.REFUSED if codes & REFUSALS else Status.ERROR, detail=detail)
        self._store(waiting.pop(request.key), answer)
        return None

    def _send_again(self, requests: Collection[Request], reason: str) -> None:
        for request in requests:
            self.rounds[request.key] += 1
            if self.rounds[request.key] < MAX_ROUNDS:
                self.todo.append(request)
            else:
                self._store(request, Answer(Status.ERROR, detail=f"{reason} and has no answer"))

    def _store(self, request: Request, answer: Answer) -> None:
        self.session.recorder.store([(request, answer)])
        self.num_done += 1

    async def _retrieve(self, sent: SentBatch) -> Batch | None:
        try:
            return await self.client.batches.retrieve(str(sent.batch_id))
        except NotFoundError:
            return None

    async def _lines(self, sent: SentBatch, file_id: str) -> list[bytes]:
        try:
            return (await self.client.files.content(file_id)).content.split(b"\n")
        except NotFoundError:
            say(f"batch {sent.batch_id}: its file {file_id} has expired; requests without an answer are sent again")
            return []

    async def _remove(self, file_id: str) -> None:
        """Delete a file at the provider; if that fails, it expires."""
        try:
            await self.client.files.delete(file_id)
        except APIError as error:
            reason = one_line(error.message, self.session.key)
            say(f"file {file_id} could not be deleted at {self.server} ({reason}); it expires within 3 days")

    async def _call(self, call: Awaitable[T]) -> T:
        try:
            return await call
        except OpenAIError as error:
            explained = self.session.explain(error)
            if isinstance(explained, UserError):
                raise Rejected(str(explained)) from None
            kind = Rejected if explained.status is Status.REFUSED else UserError
            raise kind(
                f"{self.server}: {explained.detail} Batches continue at the provider; run the same command again."
            ) from None


class Rejected(UserError):
    """The provider refused a call; nothing was created."""
