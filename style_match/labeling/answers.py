"""What is sent for a photo, and what the answer says, in the two interfaces of the API."""

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from style_match.data.images import DECODE_POLICY
from style_match.data.schema import Schema
from style_match.labeling.photos import Encoding, encode
from style_match.utils.errors import UserError
from style_match.utils.text import quoted, safe

if TYPE_CHECKING:
    from style_match.data.schema import Schema


# What passes between the step and a labeler: answers, the record they go to, and the labeler itself.


Progress = Callable[[int, int], None]  # (requests done, requests in all)


class Status(StrEnum):
    """How a request ended. Only ANSWERED is kept for good; all others are asked again by the next run."""

    ANSWERED = "answered"
    REFUSED = "refused"  # the model would not
    TRUNCATED = "truncated"  # cut off by a limit on tokens
    INVALID = "invalid"  # not what the schema asks for
    ERROR = "error"  # no answer came


@dataclass(frozen=True)
class Usage:
    """Tokens as the provider counted them; `cached_tokens` are part of `input_tokens`."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
        )


@dataclass(frozen=True)
class Answer:
    """`values` holds the schema's attributes where `status` is ANSWERED, else None and `detail` says why.

    `model` is the one that answered, as the provider names it; `cost_usd` is None where no price is known.
    """

    status: Status
    values: dict[str, Any] | None = None
    detail: str = ""
    usage: Usage = Usage()
    model: str = ""
    cost_usd: float | None = None


@dataclass(frozen=True)
class Estimate:
    """Of all requests together, before any is sent; `note` says what it rests on (prices of which day, say)."""

    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    note: str = ""

    def part(self, num_requests: int, of: int) -> "Estimate":
        """Of so many of the requests."""
        share = num_requests / of
        cost = None if self.cost_usd is None else self.cost_usd * share
        return replace(
            self,
            input_tokens=round(self.input_tokens * share),
            output_tokens=round(self.output_tokens * share),
            cost_usd=cost,
        )


@dataclass(frozen=True)
class Task:
    """What the step gives every labeler beside its own options: `partial(task=Task(...))`.

    Attributes:
        out: the folder of the answers; a labeler may keep files of its own there (jobs in the making).
        concurrency: the most requests at work at once.
        max_faults_shown: of a file, in one message.
        show: whether progress may be shown.
    """

    schema: "Schema"
    language: str
    out: Path
    concurrency: int
    max_faults_shown: int
    show: bool


class Record(Protocol):
    """Where requests and answers are noted; its methods may be called from several threads."""

    def asked(self, request: "Request") -> None:
        """Right before each sending (a repeated one too): in flight until it is answered or forgotten.

        Raises:
            UserError: the money allowed (`labeler.max_cost_usd`) is spent, or the disk is full. Nothing may be sent
                then: let what is in flight end, pass its answers to `answered`, and raise the error again.
        """

    def answered(self, request: "Request", answer: Answer) -> None:
        """Stored on the disk before it returns. Raises UserError where it cannot be stored."""

    def answered_all(self, answers: "Sequence[tuple[Request, Answer]]") -> None:
        """`answered` for many at once, which waits for the disk once; all of them are stored or none."""

    def forget_asked(self, request: "Request") -> None:
        """It surely did not reach the provider: no longer in flight, and not counted as sent."""


class Labeler(Protocol):
    """Made as `instantiate(conf/labeler/NAME.yaml)(task=Task(...))`: the YAML has `_target_` and `_partial_: true`.

    Being made needs no key and no network, only `label` does: a run whose answers are all stored asks nobody.
    """

    def at_work(self, requests: Sequence["Request"]) -> frozenset[str]:
        """Keys of those that an earlier command sent and that `label` collects, without sending them again.

        Raises:
            UserError: there are such, but these options would send them again.
        """

    def identity(self) -> dict[str, Any]:
        """What decides its answers (model, effort, ...), as JSON without a secret; part of each request's key."""

    def estimate(self, requests: Sequence["Request"]) -> Estimate | None:
        """Tokens and money for all of them; None where nothing is paid."""

    def preview(self, request: "Request") -> dict[str, Any]:
        """One request as it would be sent, for the screen; the photo's data URL is shortened."""

    def label(self, requests: Sequence["Request"], record: Record, progress: Progress) -> None:
        """Ask every request once; what fails is an answer too.

        Raises:
            UserError: the whole run has to stop (wrong key, quota, unknown model, no network, `record.asked` raised);
                what was answered is in the record.
        """


ENDPOINTS = {"responses": "/v1/responses", "chat": "/v1/chat/completions"}
_SHOWN = 48  # signs of the photo's data URL in a preview


@dataclass(frozen=True)
class Interface:
    """One way of asking.

    Attributes:
        api: "responses" or "chat".
        model: as the provider calls it.
        effort: of the reasoning; None leaves it to the provider.
        detail: of the picture; None leaves it to the provider.
        max_output_tokens: reasoning included.
        temperature: None for models that take none.
        store: False says that nothing is to be kept; None says nothing, to servers that do not know the word.
    """

    api: str
    model: str
    effort: str | None
    detail: str | None
    max_output_tokens: int
    temperature: float | None
    store: bool | None

    def body(self, request: "Request", jpeg: bytes) -> dict[str, Any]:
        """The request: the prompt, the schema and the photo's pixels; nothing else of the user's."""
        url = f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"
        detail: dict[str, Any] = {} if self.detail is None else {"detail": self.detail}
        common: dict[str, Any] = {"model": self.model} | ({} if self.store is None else {"store": self.store})
        if self.temperature is not None:
            common["temperature"] = self.temperature
        answer = {"name": request.schema.name, "schema": request.schema.json_schema, "strict": True}
        if self.api == "responses":
            photo = {"type": "input_image", "image_url": url, **detail}
            said = [{"role": "user", "content": [{"type": "input_text", "text": request.text}, photo]}]
            effort: dict[str, Any] = {} if self.effort is None else {"reasoning": {"effort": self.effort}}
            return {
                **common,
                **effort,
                "instructions": request.instructions,
                "input": said,
                "text": {"format": {"type": "json_schema", **answer}},
                "max_output_tokens": self.max_output_tokens,
            }
        photo = {"type": "image_url", "image_url": {"url": url, **detail}}
        effort = {} if self.effort is None else {"reasoning_effort": self.effort}
        limit = (
            "max_tokens" if self.store is None else "max_completion_tokens"
        )  # the old name is known to other servers
        return {
            **common,
            **effort,
            "messages": [
                {"role": "system", "content": request.instructions},
                {"role": "user", "content": [{"type": "text", "text": request.text}, photo]},
            ],
            "response_format": {"type": "json_schema", "json_schema": answer},
            limit: self.max_output_tokens,
        }

    def answer(self, text: str | Mapping[str, Any], schema: Schema, price: "Price | None", *, factor: float) -> Answer:
        """What a body of HTTP status 200 says: answered, refused, truncated or invalid.

        Args:
            text: the body, or what its JSON holds.
            factor: of the price.
        """
        try:
            body = loads(text) if isinstance(text, str) else text
        except ValueError:
            body = None
        if not isinstance(body, Mapping):
            return Answer(Status.INVALID, detail=f"the answer is no JSON object{_server_said(text)}. {_OTHER_SERVER}")
        usage, cache_writes = _usage(body.get("usage"), self.api)
        cost = None
        if price is not None and usage is not None:
            cost = price.of(usage, cache_writes=cache_writes, factor=factor)
        facts: dict[str, Any] = {"usage": usage or Usage(), "cost_usd": cost}
        facts["model"] = safe(str(body.get("model") or ""))[:_MAX_NAME]
        try:
            status, said = _of_responses(body) if self.api == "responses" else _of_chat(body)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            detail = f"the answer has not the form of labeler.api={self.api}{_server_said(text)}. {_OTHER_SERVER}"
            return Answer(Status.INVALID, detail=detail, **facts)
        if status is not Status.ANSWERED:
            return Answer(status, detail=safe(said)[:_MAX_DETAIL], **facts)
        try:
            return Answer(Status.ANSWERED, _values(said, schema), **facts)
        except ValueError as error:
            status, detail = _not_understood(said, str(error))
            return Answer(status, detail=detail, **facts)


def loads(text: str | bytes) -> Any:
    """JSON of a server. A number with more digits than any that is expected is read as None.

    Raises:
        ValueError: it is no JSON, or nested too deep.
    """
    try:
        return json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < _MAX_DIGITS else None)
    except RecursionError:
        raise ValueError("is nested too deep") from None


def shortened(body: Any) -> Any:
    """A body for the screen, without most of the photo."""
    if isinstance(body, str) and body.startswith("data:") and len(body) > _SHOWN:
        return f"{body[:_SHOWN]}... ({len(body):,} signs)"
    if isinstance(body, Mapping):
        return {key: shortened(value) for key, value in body.items()}
    return [shortened(value) for value in body] if isinstance(body, list) else body


def _usage(usage: Any, api: str) -> tuple[Usage | None, int]:
    """(tokens, those of them written into the provider's cache); None where the server counts none that can be."""
    kinds = ("input", "output") if api == "responses" else ("prompt", "completion")
    if not isinstance(usage, Mapping):
        return None, 0
    read, written = (_count(usage.get(f"{kind}_tokens")) for kind in kinds)
    if read is None or written is None:
        return None, 0
    details = usage.get(f"{kinds[0]}_tokens_details")
    details = details if isinstance(details, Mapping) else {}
    cached = min(_count(details.get("cached_tokens")) or 0, read)
    return Usage(read, cached, written), min(_count(details.get("cache_write_tokens")) or 0, read - cached)


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKENS
    return int(value) if is_count else None


def _of_responses(body: Mapping[str, Any]) -> tuple[Status, str]:
    items = body["output"]
    parts = [item.get("content") for item in items if item["type"] == "message"]
    text, refusal = "".join(map(_text_of, parts)), next(filter(None, map(_refusal_in, parts)), None)
    if not text.strip():
        text = "".join(_text_of(item.get("content")) for item in items if item["type"] == "reasoning")
    reason = (body.get("incomplete_details") or {}).get("reason")
    status = body["status"]
    if refusal is None and status not in ("completed", "incomplete"):
        error = body.get("error") or {}
        return Status.ERROR, f"{status}: {error.get('message') or error.get('code') or 'no reason given'}"
    return _judge(text, refusal, None if status == "completed" else reason or "no reason given")


def _of_chat(body: Mapping[str, Any]) -> tuple[Status, str]:
    choice = body["choices"][0]
    message, ended = choice["message"], choice.get("finish_reason")
    content = message.get("content")
    text = _text_of(content)
    if not text.strip():  # a server that takes the answer for a part of the thinking
        text = next((f"<think>{said}" for name in _THINKING if (said := _text_of(message.get(name)))), "")
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    reason = reasons.get(ended) if isinstance(ended, str) else None
    return _judge(text, message.get("refusal") or _refusal_in(content), reason)


def _text_of(content: Any) -> str:
    """Of a message: a text, a list of parts with texts, or the object that is asked for."""
    if isinstance(content, Mapping):
        return json.dumps(content)
    parts = content if isinstance(content, list) else [content]
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in parts)
    return "".join(text for text in texts if isinstance(text, str))


def _refusal_in(content: Any) -> Any:
    parts = content if isinstance(content, list) else []
    return next((part["refusal"] for part in parts if isinstance(part, Mapping) and part.get("refusal")), None)


def _judge(text: str, refusal: Any, incomplete: Any) -> tuple[Status, str]:
    if refusal:
        return Status.REFUSED, str(refusal)
    if incomplete == "content_filter":
        return Status.REFUSED, "stopped by the provider's content filter"
    if incomplete:
        return Status.TRUNCATED, f"cut off ({incomplete}); raise labeler.max_output_tokens"
    return Status.ANSWERED, text


def _values(text: str, schema: Schema) -> dict[str, Any]:
    """The values of an answer: its JSON object by itself, in a fence, or with words around it, after any thinking.

    Raises:
        ValueError: there is none, or it is not what the schema asks for.
    """
    text = _THOUGHT.sub("", text)
    first, last, end = text.find("{"), text.rfind("{"), text.rfind("}") + 1
    for candidate in (text, *reversed(_FENCE.findall(text)), text[first:end], text[last:end]):
        try:
            found = json.loads(candidate.strip(), strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, Mapping):
            whole = json.dumps(found, ensure_ascii=False).encode(errors="ignore")  # without halves of characters
            return schema.parse(whole.decode())
    raise ValueError("")


def _not_understood(text: str, fault: str) -> tuple[Status, str]:
    """(status, detail) of a text that is not the answer the schema asks for."""
    if not text.strip():
        return Status.INVALID, f"the answer is empty. {_THINKS}"
    if not fault and _REFUSAL.match(safe(_THOUGHT.sub("", text))):
        said = quoted(_THOUGHT.sub("", text))
        return Status.REFUSED, f"refused in plain words: {said}. Leave the photo out, or take another labeler.model."
    remedy = _THINKS if _THINKING_MARK.search(text) else _IGNORES
    return Status.INVALID, f"{safe(fault)[:_MAX_DETAIL] or 'the answer is no JSON'}{_server_said(text)}. {remedy}"


def _server_said(text: str | Mapping[str, Any]) -> str:
    return f"; the server said: {quoted(text if isinstance(text, str) else json.dumps(text))}"


_MAX_TOKENS = 10**8  # of a request; a larger count is a fault of the server
_MAX_DIGITS = 300
_MAX_NAME, _MAX_DETAIL = 200, 1000
_THINKING = ("reasoning_content", "reasoning", "thinking")  # keys of a message
# all up to the end of the thinking, whose beginning is often a part of the prompt; the marks of a box around an answer
_THOUGHT = re.compile(
    r"\A.*(?:</think(?:ing)?>|\[/THINK\]|\u25c1/think\u25b7)|<\|(?:begin|end)_of_box\|>|\A\ufeff", re.DOTALL
)
_THINKING_MARK = re.compile(r"</?think(?:ing)?>|\[/?THINK\]|\u25c1/?think\u25b7")
_FENCE = re.compile(r"```[a-zA-Z]*\s*(.*?)```", re.DOTALL)
_REFUSAL = re.compile(
    r"(?:I['’]m|I am) (?:really |very |truly |so )?(?:sorry|unable|not able)|Sorry|Apologies|I apologi[sz]e"
    r"|Unfortunately|I (?:can['’]?t|cannot|can not|won['’]?t|will not|must decline)|As an AI"
    r"|죄송|미안|抱歉|对不起|申し訳",
    re.IGNORECASE,
)
_OTHER_SERVER = "Does labeler.base_url name the API (mostly with /v1 at its end), and does labeler.api fit the server?"
_IGNORES = (
    "The server seems to ignore the schema (response_format): turn structured outputs on there, or take another "
    "labeler.model."
)
_THINKS = (
    "The model seems to think before it answers: turn thinking off at the server, raise labeler.max_output_tokens, or "
    "take a labeler.model without thinking."
)


@dataclass(frozen=True)
class Request:
    """Photos of the same bytes are one request.

    Attributes:
        images: the photos' names in metadata.jsonl; never sent.
        photo: the file of the first.
        sha256: of the file's bytes.
        instructions, text: what the model is told; the schema's words in the chosen language.
        labeler: `Labeler.identity()`.
        decode_policy: of the photo.
    """

    images: tuple[str, ...]
    photo: Path
    sha256: str
    instructions: str
    text: str
    schema: Schema
    encoding: Encoding
    labeler: Mapping[str, Any]
    decode_policy: str = DECODE_POLICY

    @property
    def image(self) -> str:
        """The first photo's name, for messages."""
        return self.images[0]

    @cached_property
    def key(self) -> str:
        """64 hex digits; addresses the stored answer."""
        words = [
            self.instructions,
            self.text,
            self.schema.json_schema,
            self.encoding.identity(self.decode_policy),
            dict(self.labeler),
        ]
        return hashlib.sha256(f"{self.sha256} {json.dumps(words, sort_keys=True)}".encode()).hexdigest()

    def jpeg(self) -> bytes:
        """What of the photo is sent: see `encode`.

        Raises:
            UserError: the file cannot be read any more, or holds another photo by now.
        """
        try:
            content = self.photo.read_bytes()
        except OSError as error:
            raise UserError(f"{self.photo}: cannot be read ({error.strerror}); run again") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise UserError(f"{self.photo}: was changed meanwhile; run again, when nothing writes to it")
        return encode(content, self.encoding)


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens, on one day."""

    input: float
    cached: float
    output: float
    cache_write: float  # of input that the provider keeps for later requests
    as_of: str
    source: str

    def of(self, usage: Usage, *, cache_writes: int, factor: float) -> float:
        """What a request cost; `cached_tokens` and `cache_writes` are parts of `input_tokens`."""
        plain = usage.input_tokens - usage.cached_tokens - cache_writes
        parts = (
            (plain, self.input),
            (usage.cached_tokens, self.cached),
            (cache_writes, self.cache_write),
            (usage.output_tokens, self.output),
        )
        return factor * sum(tokens * price for tokens, price in parts) / 1e6
