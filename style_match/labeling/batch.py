"""Batches: files of requests that the provider answers within a day at half the price."""

import asyncio
import json
import tempfile
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Iterable, Sequence
from typing import IO, TypeVar

from openai import APIError, NotFoundError, OpenAIError

from style_match.labeling.answers import Answer, Request, Status
from style_match.labeling.client import NO_CREDIT, REFUSALS, RETRIED, no_credit, one_line
from style_match.labeling.sent_batches import SentBatch, SentBatches
from style_match.labeling.session import Session
from style_match.utils.errors import UserError
from style_match.utils.progress import say

T = TypeVar("T")
ENDPOINTS = {"responses": "/v1/responses", "chat": "/v1/chat/completions"}
MAX_FILE_BYTES = 190_000_000  # the API accepts 200 MB
MAX_REQUESTS = 50_000  # of a file
MAX_ROUNDS = 3  # batches that a request without an answer is sent in
EXPIRES = {"anchor": "created_at", "seconds": 3 * 24 * 3600}  # of files that a killed run leaves at the provider
CLOCK_SKEW_S = 3600
ENDED = ("completed", "expired", "failed", "cancelled")


class Batches:
    """Sends requests as batches, waits for them, and stores their answers; resumes the batches of an earlier run.

    Args:
        tokens: input tokens of one request.
        max_queued_tokens: of all batches at work, a limit of the account.
        poll_s: seconds between two looks at the batches.
    """

    def __init__(self, session: Session, *, tokens: int, max_queued_tokens: int, poll_s: float) -> None:
        self.session, self.client, self.server = session, session.client, session.server
        self.endpoint = ENDPOINTS[session.labeler.api]
        self.sent = SentBatches(session.labeler.task.out)
        self.tokens = max(1, tokens)
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
        for batch in self._waiting():
            if batch.batch_id is None and not await self._call(self._find(batch)):
                self.sent.all.remove(batch)  # was never created: its requests are sent again
        self.sent.save()
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

    async def _find(self, sent: SentBatch) -> bool:
        """Find a batch at the provider whose id was not noted before the earlier run was killed."""
        async for batch in self.client.batches.list(limit=100):
            if (batch.metadata or {}).get("tag") == sent.tag:
                sent.batch_id = batch.id
                break
            if batch.created_at < sent.created_at - CLOCK_SKEW_S:
                break
        return sent.batch_id is not None

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
                body = self.session.labeler.body(request)
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
        batch = SentBatch(tag, keys, self.tokens * len(keys), int(time.time()))
        self.sent.all.append(batch)
        self.sent.save()
        create = self.client.with_options(max_retries=0).batches.create  # a repeated call would be paid twice
        created = await self._call(
            create(
                input_file_id=file_id,
                endpoint=self.endpoint,  # type: ignore[arg-type]
                completion_window="24h",
                metadata={"tag": tag},
                output_expires_after=EXPIRES,  # type: ignore[arg-type]
            )
        )
        batch.batch_id = created.id
        self.sent.save()
        say(f"batch {batch.batch_id}: {len(keys)} requests sent; after Ctrl-C the same command continues with it")

    async def _collect(self, sent: SentBatch) -> int:
        """Store the answers of a batch that has ended; returns the number of answered requests of one at work."""
        batch = await self._call(_existing(self.client.batches.retrieve(str(sent.batch_id))))
        if batch and batch.status not in ENDED:
            return batch.request_counts.completed if batch.request_counts else 0
        waiting = {key: self.requests[key] for key in sent.keys if key in self.requests}
        answer_files = list(filter(None, [batch.output_file_id, batch.error_file_id])) if batch else []
        unpaid: set[str] = set()  # codes of an exhausted quota
        for file_id in answer_files:
            content = await self._call(_existing(self.client.files.content(file_id)))
            if content is None:
                say(f"batch {sent.batch_id}: file {file_id} has expired; requests without an answer are sent again")
            for line in content.content.split(b"\n") if content else ():
                unpaid |= self._take(line, waiting)
        errors = batch.errors.data if batch and batch.status == "failed" and batch.errors else None
        error = errors[0] if errors else None
        self.sent.all.remove(sent)
        if error and error.code == "token_limit_exceeded" and self._waiting():
            self.todo.extend(waiting.values())  # they fit once another batch has ended
            error = None
        elif not (error or unpaid):
            self._send_again(waiting.values(), f"the batch is {batch.status if batch else 'gone'}")
        self.sent.save()
        for file_id in [batch.input_file_id, *answer_files] if batch else []:
            await self._remove(file_id)
        unpaid |= {error.code} & NO_CREDIT if error and error.code else set()
        if unpaid:
            raise no_credit(self.server, min(unpaid))
        if error:
            reason = one_line(f"{error.code}: {error.message}", self.session.key)
            raise UserError(
                f"{self.server} rejects the batch: {reason}. If the account's queue is full, lower "
                "labeler.batch.max_queued_tokens; labeler.dry_run=true shows a request."
            )
        return 0

    def _take(self, line: bytes, waiting: dict[str, Request]) -> set[str]:
        """Store the answer in one line of a file; returns codes if it has none because of an exhausted quota."""
        try:
            row = json.loads(line)
            request, response = waiting[row["custom_id"]], row.get("response") or {}
            status, body = response.get("status_code"), response.get("body") or {}
            error = body.get("error") or row.get("error") or {}
            codes = {str(error.get("code")), str(error.get("type"))}
        except (ValueError, KeyError, AttributeError, TypeError):
            return set()
        if status == 200:
            answer = self.session.parse(body, request)
        elif unpaid := codes & NO_CREDIT:
            return unpaid
        elif status is None or status in RETRIED or status >= 500:
            return set()  # stays in `waiting` and is sent again
        else:
            detail = one_line(f"{status} {error.get('code')}: {error.get('message')}", self.session.key)
            answer = Answer(Status.REFUSED if codes & REFUSALS else Status.ERROR, detail=detail)
        self._store(waiting.pop(request.key), answer)
        return set()

    def _send_again(self, requests: Iterable[Request], reason: str) -> None:
        for request in requests:
            self.rounds[request.key] += 1
            if self.rounds[request.key] < MAX_ROUNDS:
                self.todo.append(request)
            else:
                self._store(request, Answer(Status.ERROR, detail=f"{reason} and has no answer"))

    def _store(self, request: Request, answer: Answer) -> None:
        self.session.recorder.store([(request, answer)])
        self.num_done += 1

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
                raise explained from None
            raise UserError(
                f"{self.server}: {explained.detail} Batches continue at the provider; run the same command again."
            ) from None


async def _existing(call: Awaitable[T]) -> T | None:
    """Return None for what the provider does not have any more."""
    try:
        return await call
    except NotFoundError:
        return None
