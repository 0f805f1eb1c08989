"""One run over the API: sends requests, several at a time, and stores their answers."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from openai import AsyncOpenAI, OpenAIError

from style_match.labeling.answers import Answer, Request, Status
from style_match.labeling.client import explain, without_key
from style_match.labeling.recorder import Recorder
from style_match.labeling.replies import parse
from style_match.utils.errors import UserError
from style_match.utils.progress import Advance

if TYPE_CHECKING:
    from style_match.labeling.openai import OpenAILabeler

MAX_FAILURES_IN_ROW = 10  # then the run ends; refusals do not count
FAILURES = (Status.ERROR, Status.TRUNCATED, Status.INVALID)


@dataclass(frozen=True)
class Session:
    """An open connection, with what is needed to read and store answers."""

    labeler: "OpenAILabeler"
    client: AsyncOpenAI
    key: str
    recorder: Recorder
    progress: Advance

    @property
    def server(self) -> str:
        """The address, for messages."""
        return self.labeler.address.shown

    def parse(self, body: str | Mapping[str, Any], request: Request) -> Answer:
        """Parse the body of an answer."""
        answer = parse(body, request.schema, self.labeler.known_price)
        return replace(answer, detail=without_key(answer.detail, self.key))

    def explain(self, error: OpenAIError) -> Answer | UserError:
        """See `client.explain`."""
        labeler = self.labeler
        return explain(error, server=self.server, model=labeler.model_name, key=self.key, key_env=labeler.key_env)


class Sender:
    """Sends requests one by one; its workers share the error that ends the run."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.error: UserError | None = None
        self.num_done = self.num_failed_in_row = 0

    async def run(self, requests: Sequence[Request], *, concurrency: int) -> None:
        """Send the first request by itself, so that an error of all requests costs one; then several at a time.

        Raises:
            UserError: The error that ended the run, after the requests in flight were answered.
        """
        self.session.progress(0, len(requests))
        await self._work(requests[:1], len(requests))
        remaining = iter(requests[1:])  # shared by the workers
        await asyncio.gather(*(self._work(remaining, len(requests)) for _ in range(concurrency)))
        if self.error:
            raise self.error

    async def _work(self, requests: Iterable[Request], total: int) -> None:
        for request in requests:
            if self.error:
                return
            try:
                await self._label(request)
            except UserError as error:
                self.error = self.error or error
                return
            self.num_done += 1
            self.session.progress(self.num_done, total)

    async def _label(self, request: Request) -> None:
        store = self.session.recorder.store
        try:
            body = await asyncio.to_thread(self.session.labeler.body, request)
        except UserError as error:  # only this photo has changed or is gone
            return store([(request, Answer(Status.ERROR, detail=str(error)))])
        answer = await self._send(request, body)
        if answer.status is Status.INVALID:  # once more; both are paid
            first, answer = answer, await self._send(request, body)
            costs = [cost for cost in (first.cost_usd, answer.cost_usd) if cost is not None]
            answer = replace(answer, usage=first.usage + answer.usage, cost_usd=sum(costs) if costs else None)
        store([(request, answer)])
        self.num_failed_in_row = self.num_failed_in_row + 1 if answer.status in FAILURES else 0
        if self.num_failed_in_row >= MAX_FAILURES_IN_ROW:
            raise UserError(
                f"{self.session.server}: {self.num_failed_in_row} photos in a row failed, the last one with: "
                f"{answer.detail}. All answers are stored; run the same command again later."
            )

    async def _send(self, request: Request, body: dict[str, Any]) -> Answer:
        client = self.session.client
        self.session.recorder.before_sending(request)
        api = client.responses if self.session.labeler.api == "responses" else client.chat.completions
        try:
            response = await api.with_raw_response.create(**body)
        except OpenAIError as error:
            explained = self.session.explain(error)
            if isinstance(explained, UserError):
                raise explained from None
            return explained
        return self.session.parse(response.text, request)
