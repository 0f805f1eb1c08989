"""Requests sent as files that the provider works through within a day, at a lower price."""

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from style_match.errors import UserError
from style_match.labeler.answer import Answer, Progress, Record, Status
from style_match.labeler.body import ENDPOINTS, loads
from style_match.labeler.client import without_key, without_secrets
from style_match.labeler.remote import Remote, Unsure
from style_match.labeler.request import Request
from style_match.labeler.retry import AGAIN, NO_MONEY, REFUSALS, no_money
from style_match.labeler.sender import Sender
from style_match.labeler.shard import Shard, Shards, cut, remove_files
from style_match.progress import say

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch

    from style_match.labeler.openai import OpenAILabeler

ENDED = ("completed", "expired", "failed", "cancelled")


class Batches:
    """One run of the labeler in batches: submits, waits, collects; goes on with what an earlier run left at work."""

    def __init__(
        self, labeler: "OpenAILabeler", client: "AsyncOpenAI", key: str, record: Record, progress: Progress
    ) -> None:
        self.labeler, self.key, self.record, self.progress = labeler, key, record, progress
        self.options = labeler.batch
        self.endpoint, self.server = ENDPOINTS[labeler.interface.api], labeler.address.shown
        sender = Sender(labeler, client, key, record, progress)
        self.remote = Remote(sender, server=self.server, expires_s=self.options["file_expires_s"])
        self.shards = Shards(labeler.task.out)
        self.wanted: dict[str, Request] = {}
        self.todo: deque[Request] = deque()
        self.rounds: Counter[str] = Counter()
        self.asked: set[str] = set()  # by this process; what earlier ones asked is forgotten already
        self.unpaid: dict[str, str] = {}  # key -> the provider's word for why, of requests that await money
        self.tokens = 0
        self.done = 0

    async def label(self, requests: Sequence[Request]) -> None:
        """Return when every request has an answer, be it that it failed.

        Raises:
            UserError: what ends the run; batches that are at work go on, and the next run collects them.
        """
        self.wanted = {request.key: request for request in requests}
        self.tokens = await asyncio.to_thread(self.labeler.tokens, requests)
        await self._take_up()
        at_work = {key for shard in self.shards.open for key in shard.keys}
        self.todo.extend(request for request in requests if request.key not in at_work)
        while True:
            await self._submit_what_fits()
            counts = [await self._look_at(shard) for shard in self._ours()]
            self.progress(min(self.done + sum(counts), len(requests)), len(requests))
            if self.unpaid:
                raise no_money(self.server, next(iter(self.unpaid.values())))
            if not self.todo and not self._ours():
                return
            if self._ours():
                await asyncio.sleep(self.options["poll_s"])

    def _ours(self) -> list[Shard]:
        return [shard for shard in self.shards.open if any(key in self.wanted for key in shard.keys)]

    async def _take_up(self) -> None:
        """What a run that ended left: noted or not, each shard is found at the provider, or is free to be sent anew."""
        remove_files(self.labeler.task.out)
        for shard in list(self.shards.open):
            if shard.server != self.server:
                raise UserError(
                    f"{self.shards.path}: batches are at work at {shard.server}. Collect them first with that "
                    "labeler.base_url, or remove the file; what they answer is lost then, and paid."
                )
            if shard.is_collected:
                await self._clean_up(shard, None)
            elif shard.batch_id is None:
                await self._find(shard)
            elif not any(key in self.wanted for key in shard.keys):
                say(f"batch {shard.batch_id} answers nothing that is asked now; it is left as it is")

    async def _find(self, shard: Shard) -> None:
        batch = await self.remote.find_batch(shard)
        if batch:
            shard.batch_id, shard.file_id = batch.id, batch.input_file_id
            self.shards.keep()
            say(f"batch {batch.id} of an earlier run is at work; its {len(shard.keys)} requests are not sent again")
            return
        shard.file_id = await self.remote.find_file(shard)
        if shard.file_id and all(key in self.wanted for key in shard.keys):
            shard.batch_id = await self.remote.create(shard)
            self.shards.keep()
            return
        self._forget(shard)
        await self._clean_up(shard, None)

    async def _submit_what_fits(self) -> None:
        while self.todo:
            queued = sum(shard.tokens for shard in self._ours())
            if queued and queued + self.tokens > self.options["max_queued_tokens"]:
                return
            room = (self.options["max_queued_tokens"] - queued) // max(1, self.tokens)
            limits = {**self.options, "max_requests": max(1, min(self.options["max_requests"], room))}
            taking = [self.todo.popleft() for _ in range(min(len(self.todo), limits["max_requests"]))]
            files = cut(
                taking,
                self.labeler.task.out,
                line_of=lambda request: self.labeler.interface.body(request, request.jpeg()),
                tokens=self.tokens,
                endpoint=self.endpoint,
                server=self.server,
                limits=limits,
                unreadable=lambda request, error: self._answered(request, Answer(Status.ERROR, detail=str(error))),
            )
            while item := await asyncio.to_thread(next, files, None):
                await self._submit(*item)

    async def _submit(self, shard: Shard, path: Path, requests: Sequence[Request]) -> None:
        """Noted before each step, so that a killed process leaves nothing that the next one would send twice.

        Raises UserError where it does not come through; the requests are in flight then only where that is unsure.
        """
        has_file = False
        try:
            self.shards.add(shard)
            for request in requests:
                self.record.asked(request)
                self.asked.add(request.key)
            shard.file_id = await self.remote.upload(shard, path)
            has_file = True
            self.shards.keep()
            shard.batch_id = await self.remote.create(shard)
            self.shards.keep()
        except UserError as error:
            unsure = isinstance(error, Unsure)
            if not (has_file and unsure):
                self._forget(shard)
            if not (has_file or unsure):  # nothing of it is at the provider
                self.shards.drop(shard)
            raise
        finally:
            path.unlink(missing_ok=True)
        say(f"batch {shard.batch_id}: {len(requests)} requests at work; Ctrl-C and the same command go on with it")

    async def _look_at(self, shard: Shard) -> int:
        """Collect a batch that ended; returns how many requests of one at work are done."""
        batch = await self.remote.retrieve(shard)
        if batch and batch.status not in ENDED:
            return batch.request_counts.completed if batch.request_counts else 0
        waiting = {key: self.wanted[key] for key in shard.keys if key in self.wanted}
        for file_id in filter(None, (batch.output_file_id, batch.error_file_id) if batch else ()):
            for line in await self.remote.lines(shard, file_id):
                self._take(line, waiting)
        why = f"the batch is {batch.status if batch else 'gone'}"
        if batch and batch.status == "failed" and batch.errors and batch.errors.data:
            first = batch.errors.data[0]
            said = without_secrets(f"{first.code}: {first.message}", self.key)
            self._forget(shard)
            await self._clean_up(shard, batch)
            if first.code in NO_MONEY:
                raise no_money(self.server, first.code)
            if first.code != "token_limit_exceeded" or not self._ours():
                raise UserError(
                    f"{self.server} refuses the batch: {said}. A smaller labeler.batch.max_queued_tokens helps where "
                    "the account's queue is full; else labeler.dry_run=true shows a request."
                )
            self.todo.extend(waiting.values())  # when one of the others has ended
            return 0
        for request in waiting.values():
            if request.key in self.unpaid:
                self._unask(request)
            else:
                self._again(request, why)
        shard.is_collected = True
        self.shards.keep()
        await self._clean_up(shard, batch)
        return 0

    def _take(self, line: bytes, waiting: dict[str, Request]) -> None:
        """One line of an output or error file; what cannot be read stays in `waiting`."""
        try:
            said = loads(line)
            response, error = said.get("response") or {}, said.get("error") or {}
            request = waiting[said["custom_id"]]
            status, body = response.get("status_code"), response.get("body") or {}
            error = body.get("error") or error
        except (ValueError, KeyError, AttributeError, TypeError):
            return
        if status == 200:
            price = self.labeler.model.price
            answer = self.labeler.interface.answer(body, request.schema, price, factor=self.labeler.price_factor)
            answer = replace(answer, detail=without_key(answer.detail, self.key))
        elif reasons := NO_MONEY.intersection((str(error.get("code")), str(error.get("type")))):
            self.unpaid[request.key] = min(reasons)
            return  # as if it had not been asked
        elif status is None or status in AGAIN or status >= 500:
            return
        else:
            kind = Status.REFUSED if error.get("code") in REFUSALS else Status.ERROR
            detail = without_secrets(f"{status} {error.get('code')}: {error.get('message')}", self.key)
            answer = Answer(kind, detail=detail)
        self._answered(waiting.pop(request.key), answer)

    def _again(self, request: Request, why: str) -> None:
        """A request that had no answer in a batch is as if it had not been asked, some times."""
        self.rounds[request.key] += 1
        if self.rounds[request.key] >= self.options["max_rounds"]:
            self._answered(request, Answer(Status.ERROR, detail=f"{why} and had no answer for it"))
        else:
            self._unask(request)
            self.todo.append(request)

    def _unask(self, request: Request) -> None:
        if request.key in self.asked:
            self.record.forget_asked(request)
            self.asked.remove(request.key)

    def _answered(self, request: Request, answer: Answer) -> None:
        self.record.answered(request, answer)
        self.done += 1

    def _forget(self, shard: Shard) -> None:
        for key in self.asked.intersection(shard.keys):
            self._unask(self.wanted[key])

    async def _clean_up(self, shard: Shard, batch: "Batch | None") -> None:
        """No file of ours stays at the provider, where that can be had; what stays expires."""
        for file_id in filter(None, (shard.file_id, *((batch.output_file_id, batch.error_file_id) if batch else ()))):
            await self.remote.remove(file_id)
        self.shards.drop(shard)
