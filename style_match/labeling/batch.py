"""Requests sent as files that the provider works through within a day, at a lower price."""

import asyncio
import json
import os
import time
import uuid
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from style_match.labeling.answers import ENDPOINTS, Answer, Progress, Record, Request, Status, loads
from style_match.labeling.client import (
    AGAIN,
    NO_MONEY,
    REFUSALS,
    Again,
    Rejected,
    Sender,
    no_money,
    without_key,
    without_secrets,
)
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole
from style_match.utils.progress import say

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types import Batch

    from style_match.labeling.openai import OpenAILabeler


# Requests of a batch cut into files, and what is remembered of each until its answers are stored.


FILE = "batches.json"
_PREFIX = "style_match_"


@dataclass
class Shard:
    """One file of requests and the batch that works on it.

    Attributes:
        tag: made up before anything is sent; the file's name and the batch's metadata carry it, so that both are found
            again at the provider where a killed process could not note their ids.
        keys: of its requests.
        tokens: input tokens, estimated; they fill the account's queue.
        made_at: seconds since 1970.
        is_collected: its answers are stored; what is left is cleaning up.
    """

    tag: str
    keys: list[str]
    tokens: int
    endpoint: str
    server: str
    made_at: int = 0
    file_id: str | None = None
    batch_id: str | None = None
    is_collected: bool = False

    @property
    def filename(self) -> str:
        return f"{self.tag}.jsonl"


class Shards:
    """The shards that are not collected yet, kept in `batches.json` of the out folder.

    Raises:
        UserError: the file is damaged.
    """

    def __init__(self, out: Path) -> None:
        self.path = out / FILE
        self.open: list[Shard] = []
        if self.path.exists():
            try:
                self.open = [Shard(**each) for each in json.loads(self.path.read_text(encoding="utf-8"))]
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{self.path} is damaged ({error}); it names the batches at work. Remove it to start anew; what "
                    "they answer is lost then, and paid."
                ) from error

    def keep(self) -> None:
        """Write what is open now; without any, the file goes."""
        if self.open:
            write_whole(self.path, json.dumps([asdict(shard) for shard in self.open], indent=1) + "\n")
        else:
            self.path.unlink(missing_ok=True)

    def add(self, shard: Shard) -> None:
        self.open.append(shard)
        self.keep()

    def drop(self, shard: Shard) -> None:
        self.open.remove(shard)
        self.keep()


def remove_files(out: Path) -> None:
    """Remove what a killed process had written to be sent."""
    for path in out.glob(f".{_PREFIX}*.jsonl"):
        path.unlink(missing_ok=True)


def cut(
    requests: Iterable[Request],
    folder: Path,
    *,
    line_of: Callable[[Request], dict[str, Any]],
    tokens: int,
    endpoint: str,
    server: str,
    limits: Mapping[str, Any],
    unreadable: Callable[[Request, UserError], None],
) -> Iterator[tuple[Shard, Path, list[Request]]]:
    """Shards with their files and requests, each written when it is asked for, within the limits.

    Args:
        folder: where the files are written; whoever takes one removes it.
        line_of: a request's body; its UserError leaves the request out and is given to `unreadable`.
        tokens: input tokens of one request.
        limits: `max_bytes`, `max_requests`, `max_queued_tokens`.

    Raises:
        UserError: the disk is full; or one request alone is above a limit.
    """
    most = min(limits["max_requests"], max(1, limits["max_queued_tokens"] // max(tokens, 1)))
    lines = _lines(requests, line_of, unreadable, endpoint)
    kept: tuple[Request, bytes] | None = None
    over = False
    while not over:
        shard = Shard(f"{_PREFIX}{uuid.uuid4().hex}", [], 0, endpoint, server, made_at=int(time.time()))
        path, taken, size = folder / f".{shard.filename}", list[Request](), 0
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                while len(taken) < most:
                    request, line = kept or next(lines, (None, b""))
                    kept = None
                    if request is None:
                        over = True
                        break
                    if size + len(line) > limits["max_bytes"]:
                        if not taken:
                            raise UserError(f"{request.image}: is above labeler.batch.max_bytes by itself; raise it.")
                        kept = (request, line)
                        break
                    file.write(line)
                    size += len(line)
                    taken.append(request)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise UserError(f"Cannot write {path}: {error.strerror or error}. Free some space.") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        if not taken:
            path.unlink()
            return
        shard.keys, shard.tokens = [request.key for request in taken], tokens * len(taken)
        yield shard, path, taken


def _lines(
    requests: Iterable[Request],
    line_of: Callable[[Request], dict[str, Any]],
    unreadable: Callable[[Request, UserError], None],
    endpoint: str,
) -> Iterator[tuple[Request, bytes]]:
    for request in requests:
        try:
            body = line_of(request)
        except UserError as error:
            unreadable(request, error)
            continue
        line = {"custom_id": request.key, "method": "POST", "url": endpoint, "body": body}
        yield request, json.dumps(line, ensure_ascii=False).encode() + b"\n"


# Files and batches at the provider: sent, found again, read, removed; each call repeated where that helps.


T = TypeVar("T")
SKEW_S = 3600  # between this clock and the provider's


class Unsure(UserError):
    """It may have reached the provider, or not."""


class Remote:
    """Every method raises UserError where it does not come through.

    Args:
        sender: for its client, its repeating and its judging.
        expires_s: after that files go by themselves.
    """

    def __init__(self, sender: Sender, *, server: str, expires_s: int) -> None:
        self.sender, self.client, self.server, self.expires_s = sender, sender.client, server, expires_s

    async def upload(self, shard: Shard, path: Path) -> str:
        """The id of the file."""

        async def upload() -> str:
            with open(path, "rb") as file:
                sent = await self.client.files.create(
                    file=(shard.filename, file),
                    purpose="batch",
                    expires_after={"anchor": "created_at", "seconds": self.expires_s},
                )
            return sent.id

        return await self._call(upload)

    async def create(self, shard: Shard) -> str:
        """The id of the shard's batch; a repeated call finds the first one's, so that none is paid twice."""

        async def create() -> "Batch":
            return await self._look_for(shard) or await self.client.batches.create(
                input_file_id=str(shard.file_id),
                endpoint=shard.endpoint,  # type: ignore[arg-type]
                completion_window="24h",
                metadata={"tag": shard.tag},
                output_expires_after={"anchor": "created_at", "seconds": self.expires_s},
            )

        return (await self._call(create)).id

    async def retrieve(self, shard: Shard) -> "Batch | None":
        """None where it is gone."""
        from openai import NotFoundError

        async def retrieve() -> "Batch | None":
            try:
                return await self.client.batches.retrieve(str(shard.batch_id))
            except NotFoundError:
                return None

        return await self._call(retrieve)

    async def find_batch(self, shard: Shard) -> "Batch | None":
        return await self._call(lambda: self._look_for(shard))

    async def find_file(self, shard: Shard) -> str | None:
        async def find() -> str | None:
            async for file in self.client.files.list(purpose="batch", order="desc"):
                if file.filename == shard.filename:
                    return file.id
                if file.created_at < shard.made_at - SKEW_S:
                    break
            return None

        return await self._call(find)

    async def lines(self, shard: Shard, file_id: str) -> list[bytes]:
        """Of an output or error file; none where the provider has removed it, which it does after a while."""
        from openai import NotFoundError

        async def read() -> bytes | None:
            try:
                return (await self.client.files.content(file_id)).content
            except NotFoundError:
                return None

        content = await self._call(read)
        if content is None:
            say(f"batch {shard.batch_id}: {file_id}, a file of its answers, has expired; what it held is asked again")
        return (content or b"").split(b"\n")

    async def remove(self, file_id: str) -> None:
        """Where that cannot be had, it is said."""
        from openai import APIError

        try:
            await self.client.files.delete(file_id)
        except APIError as error:
            said, hours = without_secrets(error.message, self.sender.key), self.expires_s // 3600
            say(f"file {file_id} could not be removed at {self.server} ({said}); it expires within {hours} h")

    async def _look_for(self, shard: Shard) -> "Batch | None":
        async for batch in self.client.batches.list(limit=100):
            if (batch.metadata or {}).get("tag") == shard.tag:
                return batch
            if batch.created_at < shard.made_at - SKEW_S:
                break
        return None

    async def _call(self, do: Callable[[], Awaitable[T]]) -> T:
        from openai import APIError

        async def once() -> T:
            try:
                return await do()
            except APIError as error:
                raise self.sender.judged(error) from None

        try:
            done = await self.sender.repeat(once)
        except (Again, Rejected) as error:
            kind = Unsure if isinstance(error, Again) and error.sent else UserError
            raise kind(
                f"{self.server}: {error}. Batches at work go on there; run the same command again later."
            ) from None
        self.sender.reached = True
        return done


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
