"""Requests sent one by one, several at a time: paced, repeated, recorded, and stopped together."""

import asyncio
import ipaddress
import json
import logging
import os
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import httpx2
from openai import DefaultAsyncHttpxClient
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_exponential, wait_random

from style_match.labeling.answers import Answer, Progress, Record, Request, Status
from style_match.utils.errors import UserError
from style_match.utils.text import safe

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI

    from style_match.labeling.openai import OpenAILabeler


# The HTTP client below the official one: it bounds an answer in bytes and in time, and finds errors of status 200.


MAX_ANSWER_BYTES = 16 * 2**20
MAX_FILE_BYTES = 2**30  # of the answers of a batch


class TooLong(httpx2.RequestError):
    """The server sent more than is read of an answer."""


class Client(DefaultAsyncHttpxClient):
    """Reads each answer whole, decompressed, within its bounds.

    Args:
        answer_s: seconds for the whole of an answer; the files of a batch have the bounds of `timeout` only.
    """

    def __init__(self, *, answer_s: float, **options: Any) -> None:
        super().__init__(**options)
        self.answer_s = answer_s

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        is_file = request.url.path.rstrip("/").endswith(("/files", "/content"))
        try:
            async with asyncio.timeout(None if is_file else self.answer_s):
                response = await super().send(request, **{**options, "stream": True})
                try:
                    content = await _read(response, MAX_FILE_BYTES if is_file else MAX_ANSWER_BYTES)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no whole answer within {self.answer_s:g} s", request=request) from None
        headers = [
            (name, value)
            for name, value in response.headers.raw
            if name.lower() not in (b"content-encoding", b"content-length", b"transfer-encoding")
        ]
        status = response.status_code
        if status == 200 and not is_file:
            status = named_status(content) or status
        return httpx2.Response(status, headers=headers, content=content, request=request)


async def _read(response: httpx2.Response, most: int) -> bytes:
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > most:
            raise TooLong(f"its answer has more than {most:,} bytes", request=response.request)
    return bytes(content)


def named_status(content: bytes) -> int | None:
    """The HTTP status of an error that was sent with status 200; 502 where it names none; None for all else.

    >>> named_status(b'{"error": {"message": "overloaded", "code": 503}}')
    503
    """
    if b'"error"' not in content:
        return None
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, Mapping) or body.get("choices") or "output" in body:
        return None
    error = body if body.get("object") == "error" else body.get("error")
    if not error:
        return None
    named = error if isinstance(error, Mapping) else {}
    words = (str(each.get(key)) for each in (named, body) for key in ("code", "status", "status_code", "type"))
    return next((_STATUS[word] for word in words if word in _STATUS), 502)


_STATUS = {str(status): status for status in range(400, 600)} | {
    "invalid_request_error": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "model_not_found": 404,
    "not_found_error": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "overloaded_error": 503,
}


# The connection to the server: where photos may go, with which key, and how both are named in messages.


# What the official client tells of the machine in each request; none of it is needed for an answer.
_TELLING = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
_CUSTOM_HEADERS = "OPENAI_CUSTOM_HEADERS"  # of the environment: the official client would send them to any server
_OWN = "api.openai.com"  # the provider's own host; those of its regions stand in front of it
_KEY_LIKE = re.compile(r"\b(sk|sess|org|proj)-[\w*.-]{4,}")


class Address:
    """`labeler.base_url`.

    Attributes:
        name: host and port; of the provider's own the host alone.
        is_own: whether it is the provider's.
        is_here: whether it is this machine.

    Raises:
        UserError: it is no address, or would send photos of people readable for everybody on the way.
    """

    def __init__(self, base_url: str, *, allow_http: bool) -> None:
        try:
            parts = urlsplit(base_url)
            port = parts.port
        except ValueError:  # not shown: what is broken may be a password
            raise UserError(
                "labeler.base_url is no address, its host or port is broken; write https://HOST:PORT/v1"
            ) from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"labeler.base_url={shown(base_url)} is no address; write https://HOST/v1")
        self.url, self.shown, host = base_url, shown(base_url), parts.hostname
        self.is_own, self.is_here = host == _OWN or host.endswith(f".{_OWN}"), _is_here(host)
        self.name = host if self.is_own else f"{host}:{port or (443 if parts.scheme == 'https' else 80)}"
        if parts.scheme == "http" and not self.is_here and not allow_http:
            raise UserError(
                f"labeler.base_url={self.shown}: photos would go over the network unencrypted. Write https, or, where "
                "the network is yours, labeler.allow_http=true too."
            )


def shown(base_url: str) -> str:
    """An address without what may be secret in it: user, password, query."""
    parts = urlsplit(base_url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_key(variable: str | None) -> str:
    """The key from the environment; a word where the server asks for none.

    Raises:
        UserError: the variable is not set, or holds what cannot be a key.
    """
    if variable is None:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"No key: set the environment variable {variable} (labeler.key_env names it).")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"{variable} holds signs that no key has; set it again.")
    return key


def without_secrets(text: str, key: str) -> str:
    """What a server said, fit for a message or a file."""
    return " ".join(without_key(safe(text), key).split())[:300]


def without_key(text: str, key: str) -> str:
    """A text without the key, and without what looks like one."""
    return _KEY_LIKE.sub("(key)", text.replace(key, "(key)") if key != "none" else text)


def connect(address: Address, key: str, *, timeout_s: float, connect_timeout_s: float) -> "AsyncOpenAI":
    """The official client, which repeats nothing by itself and goes nowhere else when told to.

    Of the environment it takes no headers at all, organisation and project for the provider alone, and no proxy on the
    way to this machine.
    """
    from openai import AsyncOpenAI, Omit, Timeout

    pass

    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it would print each address, with what is secret in it
    silent: Any = {"User-Agent": "style_match"} | {f"X-Stainless-{name}": Omit() for name in _TELLING}
    headers = os.environ.pop(_CUSTOM_HEADERS, None)  # it has no option against them
    try:
        client = AsyncOpenAI(
            api_key=key,
            admin_api_key="",
            base_url=address.url,
            max_retries=0,
            timeout=Timeout(timeout_s, connect=connect_timeout_s),
            default_headers=silent,
            http_client=Client(answer_s=timeout_s, follow_redirects=False, trust_env=not address.is_here),
        )
    finally:
        if headers is not None:
            os.environ[_CUSTOM_HEADERS] = headers
    if not address.is_own:
        client.organization = client.project = None
    return client


def _is_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# What an error of the API means: ask again, note it for the photo, or stop the whole run.


NO_MONEY = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"}
OUR_FAULT = {
    "invalid_json_schema",
    "unsupported_parameter",
    "unsupported_value",
    "unknown_parameter",
    "missing_required_parameter",
    "model_not_found",
    "integer_below_min_value",
    "integer_above_max_value",
}
OUR_PARAMS = ("model", "text", "response_format", "reasoning", "max_output_tokens", "max_completion_tokens", "store")
REFUSALS = {"invalid_prompt", "content_policy_violation", "content_filter", "moderation_blocked"}
AGAIN = {408, 409, 425, 429}


class Again(Exception):
    """Worth asking again.

    Attributes:
        after_s: what the server asks to wait; None where it says nothing.
        everybody: the server is busy with all of us, not with this request.
        sent: False where the request surely did not reach the server.
        reached: whether a server answered at all.
    """

    def __init__(self, why: str, *, after_s: float | None, everybody: bool, sent: bool, reached: bool) -> None:
        super().__init__(why)
        self.after_s, self.everybody, self.sent, self.reached = after_s, everybody, sent, reached

    @property
    def remedy(self) -> str:
        busy = "The server is overloaded or broken" if self.reached else "The server is slow or gone"
        return f"{busy}: run the same command again later, with a lower labeler.concurrency where it is busy."


class Rejected(Exception):
    """No answer for this photo, whoever asks how often."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.detail)
        self.answer = answer


class Backoff(wait_base):
    """Exponential with jitter; where the server says how long, at least so long, with jitter above it."""

    def __init__(self, *, initial_s: float, max_s: float, jitter_s: float) -> None:
        self.jitter = wait_random(0, jitter_s)
        self.own = wait_exponential(multiplier=initial_s, max=max_s) + self.jitter

    def __call__(self, retry_state: RetryCallState) -> float:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        if isinstance(error, Again) and error.after_s is not None:
            return error.after_s + self.jitter(retry_state)
        return self.own(retry_state)


def no_money(server: str, code: str) -> UserError:
    """What ends the run where nothing is answered until somebody pays."""
    return UserError(
        f"{server}: the account's quota is exhausted ({code}). Raise its limit or add credit, then run the same "
        "command again; stored answers are not asked for again."
    )


def judge(error: "APIError", *, server: str, model: str, key: str, key_env: str | None) -> Exception:
    """The exception to raise for an error of the client: `Again`, `Rejected`, or the `UserError` that ends the run."""
    from openai import APIConnectionError, APIStatusError, APITimeoutError

    said = without_secrets(_message(error), key)
    cause = type(error.__cause__).__name__
    if cause == "TooLong":
        detail = f"{error.__cause__}: lower labeler.max_output_tokens, or look at what the server sends"
        return Rejected(Answer(Status.ERROR, detail=detail))
    if isinstance(error, APITimeoutError):
        connected = cause != "ConnectTimeout"
        which = "timed out: no whole answer within labeler.timeout_s" if connected else "timed out: no connection"
        return Again(which, after_s=None, everybody=False, sent=connected, reached=False)
    if isinstance(error, APIConnectionError):
        said = without_secrets(str(error.__cause__ or error), key) or cause
        connected = cause != "ConnectError"
        return Again(f"connection: {said}", after_s=None, everybody=False, sent=connected, reached=False)
    if not isinstance(error, APIStatusError):
        return Rejected(Answer(Status.INVALID, detail=said))
    status, codes = error.status_code, {str(error.code), str(error.type)}
    code, param = (without_secrets(str(word or ""), key) for word in (error.code or error.type, error.param))
    code = "" if code == str(status) else code
    numbered = f"{status} {code}".strip()
    if codes & NO_MONEY or status == 402:
        return no_money(server, code)
    if status == 401:
        where = f"the key in {key_env}" if key_env else "requests without a key; name its variable by labeler.key_env"
        return UserError(f"{server} does not accept {where} ({numbered}).")
    if status == 403:
        return UserError(f"{server} does not allow this ({numbered}): {said}. Another key or another labeler.model?")
    if status == 404:
        return UserError(
            f"{server} has no model {model}, or not this interface ({numbered}): {said}. Write another labeler.model, "
            "labeler.base_url, or labeler.api=chat."
        )
    if 300 <= status < 400:
        return UserError(f"{server} sends us elsewhere ({status}); write the final address as labeler.base_url.")
    if status in AGAIN or status >= 500:
        after = wait_s(error.response.headers, now=time.time())
        why = f"{numbered}: {said}"
        return Again(why, after_s=after, everybody=status in (429, 503), sent=True, reached=True)
    if codes & REFUSALS:
        return Rejected(Answer(Status.REFUSED, detail=f"{code}: {said}"))
    if codes & OUR_FAULT or param.split(".")[0].split("[")[0] in OUR_PARAMS:
        return UserError(
            f"{server} does not take the request ({numbered}{f', {param}' if param else ''}): {said}. "
            "labeler.dry_run=true shows it; change the schema or the labeler's options."
        )
    return Rejected(Answer(Status.ERROR, detail=f"{numbered}: {said}"))


def _message(error: "APIError") -> str:
    """The server's own words, without what the client puts around them."""
    body = error.body
    found = body.get("message") if isinstance(body, Mapping) else body
    return found if isinstance(found, str) and found.strip() else error.message


def wait_s(headers: Mapping[str, str], *, now: float) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds or a date) ask for; None where they ask for none."""
    try:
        return max(0.0, float(headers["retry-after-ms"]) / 1000)
    except (KeyError, ValueError):
        pass
    asked = headers.get("retry-after")
    if not asked:
        return None
    try:
        return max(0.0, float(asked))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(asked).timestamp() - now)
    except (TypeError, ValueError, OverflowError):
        return None


# When the next request may be sent: limits of the config and of the server, and pauses that it asks for.


_WINDOW_S = 60.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Pace:
    """Shared by all workers of one event loop: what makes one wait makes all wait.

    Args:
        requests_per_min, tokens_per_min: None: no limit of our own.
        max_pause_s: a server's header makes nobody wait longer.
    """

    def __init__(self, *, requests_per_min: int | None, tokens_per_min: int | None, max_pause_s: float) -> None:
        self.requests_per_min, self.tokens_per_min, self.max_pause_s = requests_per_min, tokens_per_min, max_pause_s
        self._sent: deque[tuple[float, int]] = deque()
        self._resume_at = 0.0

    async def ready(self, tokens: int) -> None:
        """Return when a request of so many tokens may be sent, which then counts as sent."""
        while (wait := self._wait(tokens, time.monotonic())) > 0:
            await asyncio.sleep(wait)
        self._sent.append((time.monotonic(), tokens))

    def pause(self, seconds: float) -> None:
        """Nobody sends for so long."""
        self._resume_at = max(self._resume_at, time.monotonic() + seconds)

    def note(self, headers: Mapping[str, str], tokens: int) -> None:
        """Obey `x-ratelimit-*`: what is left, and when it is full again."""
        for kind, needed in (("requests", 1), ("tokens", tokens)):
            left, reset = headers.get(f"x-ratelimit-remaining-{kind}"), headers.get(f"x-ratelimit-reset-{kind}")
            is_spent = left and re.fullmatch("[0-9]{1,18}", left) and int(left) < needed
            if is_spent and (seconds := duration_s(reset)) is not None:
                self.pause(min(seconds, self.max_pause_s))

    def _wait(self, tokens: int, now: float) -> float:
        while self._sent and now - self._sent[0][0] >= _WINDOW_S:
            self._sent.popleft()
        wait = self._resume_at - now
        full = self.requests_per_min is not None and len(self._sent) >= self.requests_per_min
        spent = sum(each for _, each in self._sent)
        if self.tokens_per_min is not None and self._sent and spent + tokens > self.tokens_per_min:
            full = True  # a request above the limit by itself still goes, alone
        return max(wait, self._sent[0][0] + _WINDOW_S - now) if full else wait


def duration_s(text: str | None) -> float | None:
    """Seconds of a duration such as "1s", "6m0s", "20ms"; None where it is none."""
    if not text or not re.fullmatch(r"(\d+(\.\d+)?(ms|s|m|h|d))+", text):
        return None
    return sum(float(number) * _UNITS[unit] for number, _, unit in re.findall(r"(\d+(\.\d+)?)(ms|[smhd])", text))


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
