"""Requests sent one by one, several at a time: paced, repeated, recorded, and stopped together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.stop import stop_base

from style_match.errors import UserError
from style_match.labeler.answer import Answer, Progress, Record, Status
from style_match.labeler.client import without_key
from style_match.labeler.pace import Pace
from style_match.labeler.request import Request
from style_match.labeler.retry import Again, Backoff, Rejected, judge

if TYPE_CHECKING:
    from openai import AsyncOpenAI

    from style_match.labeler.openai import OpenAILabeler

T = TypeVar("T")
FAILURES = (Status.ERROR, Status.TRUNCATED, Status.INVALID)  # a refusal is what the model says of one photo


class Stopped(Exception):
    """Another worker met what ends the run; this request is left for the next run."""


class Sender:
    """One run of the labeler: its workers share the pace, the reason to stop, and whether the server was ever reached.

    Args:
        labeler: its options.
        key: for taking it out of messages.
    """

    def __init__(
        self, labeler: "OpenAILabeler", client: "AsyncOpenAI", key: str, record: Record, progress: Progress
    ) -> None:
        self.labeler, self.client, self.key, self.record, self.progress = labeler, client, key, record, progress
        self.pace = Pace(**labeler.limits, max_pause_s=labeler.retry["max_total_s"])
        self.reached = False
        self.stop: UserError | None = None
        self.failures_in_row = 0
        self.tokens = 0

    async def label(self, requests: Sequence[Request]) -> None:
        """The first request goes alone: what is wrong with all of them is then found with one.

        Raises:
            UserError: what ended the run, after the requests in flight were answered.
        """
        self.tokens = await asyncio.to_thread(self.labeler.tokens, requests[:1])
        left = iter(requests)
        done = 0
        self.progress(0, len(requests))

        async def work(most: int | None) -> None:
            nonlocal done
            for request in left:
                await self._one(request)
                if self.stop:
                    return
                done += 1
                self.progress(done, len(requests))
                if most is not None and (most := most - 1) <= 0:
                    return

        await work(1)
        if self.stop is None:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.labeler.task.concurrency):
                    group.create_task(work(None))
        if self.stop:
            raise self.stop

    async def _one(self, request: Request) -> None:
        """Ask and record; what ends the run is left in `stop`."""
        try:
            try:
                jpeg = await asyncio.to_thread(request.jpeg)
            except UserError as error:  # of this photo alone: it is changed, gone, or no photo
                self.record.answered(request, Answer(Status.ERROR, detail=str(error)))
                return
            answer = await self._answer(request, jpeg)
            self.record.answered(request, answer)
        except Stopped:
            return
        except UserError as error:
            self.stop = self.stop or error
            return
        self.failures_in_row = self.failures_in_row + 1 if answer.status in FAILURES else 0
        if self.failures_in_row >= self.labeler.max_failures_in_row:
            self.stop = self.stop or UserError(
                f"{self.labeler.address.shown}: {self.failures_in_row} photos in a row had no answer; the last one: "
                f"{answer.detail}. What was answered is kept; run the same command again later."
            )

    async def _answer(self, request: Request, jpeg: bytes) -> Answer:
        """What one photo is answered in the end; an invalid answer is asked for anew, and both are paid."""
        body = self.labeler.interface.body(request, jpeg)
        answer = Answer(Status.ERROR)
        for attempt in range(self.labeler.invalid_attempts):
            before = answer
            try:
                answer = await self.repeat(lambda: self._send(request, body))
            except Rejected as error:
                answer = error.answer
            except Again as error:
                answer = Answer(Status.ERROR, detail=f"{error}. {error.remedy}")
            if attempt:
                paid = [each.cost_usd for each in (before, answer) if each.cost_usd is not None]
                answer = replace(answer, usage=before.usage + answer.usage, cost_usd=sum(paid) if paid else None)
            if answer.status is not Status.INVALID:
                break
        return answer

    async def _send(self, request: Request, body: dict[str, Any]) -> Answer:
        """One sending. Raises what `judge` makes of an error."""
        from openai import APIError

        await self.pace.ready(self.tokens)
        if self.stop:
            raise Stopped
        self.record.asked(request)
        try:
            if self.labeler.interface.api == "responses":
                raw = await self.client.responses.with_raw_response.create(**body)
            else:
                raw = await self.client.chat.completions.with_raw_response.create(**body)
        except APIError as error:
            judged = self.judged(error)
            # turned away for good, or never arrived: nothing is in flight that could still be answered
            if isinstance(judged, UserError) or (isinstance(judged, Again) and not judged.sent):
                self.record.forget_asked(request)
            raise judged from None
        self.reached = True
        self.pace.note(raw.headers, self.tokens)
        answer = self.labeler.interface.answer(
            raw.text, request.schema, self.labeler.model.price, factor=self.labeler.price_factor
        )
        return replace(answer, detail=without_key(answer.detail, self.key))

    async def repeat(self, send: Callable[[], Awaitable[T]]) -> T:
        """Do something until it comes through.

        Raises:
            Again: it did not, within the attempts and seconds that are allowed.
            UserError: the server was never reached, or asks to wait for longer than that.
        """
        options = self.labeler.retry
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Again),
            wait=Backoff(initial_s=options["initial_s"], max_s=options["max_s"], jitter_s=options["jitter_s"]),
            stop=_Enough(self),
            before_sleep=self._let_wait,
            reraise=True,
        )

        async def once() -> T:  # tenacity knows a coroutine by its function
            return await send()

        try:
            return await retrying(once)
        except Again as error:
            where = self.labeler.address.shown
            if not (self.reached or error.reached):
                raise UserError(
                    f"Cannot reach {where}: {error}. Is the network up, and labeler.base_url right? Run the same "
                    "command again then."
                ) from None
            if error.after_s is not None and error.after_s > options["max_total_s"]:
                raise UserError(
                    f"{where} asks to wait {error.after_s:.0f} s, more than labeler.retry.max_total_s="
                    f"{options['max_total_s']:g}: {error}. Run the same command again then."
                ) from None
            raise

    def _let_wait(self, state: RetryCallState) -> None:
        """Where the server is busy with all of us, nobody sends while one waits."""
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, Again) and error.everybody and state.next_action:
            self.pace.pause(state.next_action.sleep)

    def judged(self, error: Any) -> Exception:
        labeler = self.labeler
        judged = judge(
            error, server=labeler.address.shown, model=labeler.model.name, key=self.key, key_env=labeler.key_env
        )
        self.reached = self.reached or not isinstance(judged, Again) or judged.reached
        return judged


class _Enough(stop_base):
    """Attempts or seconds are used up; fewer attempts as long as the server was never reached."""

    def __init__(self, sender: Sender) -> None:
        self.sender = sender

    def __call__(self, retry_state: RetryCallState) -> bool:
        options = self.sender.labeler.retry
        most = options["max_attempts"] if self.sender.reached else options["first_attempts"]
        waited = retry_state.seconds_since_start or 0.0
        return retry_state.attempt_number >= most or waited + retry_state.upcoming_sleep > options["max_total_s"]
