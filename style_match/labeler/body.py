"""What is sent for a photo, and what the answer says, in the two interfaces of the API."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from style_match.labeler.answer import Answer, Status, Usage
from style_match.labeler.cost import Price
from style_match.labeler.request import Request
from style_match.schema import Schema

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

    def body(self, request: Request, jpeg: bytes) -> dict[str, Any]:
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

    def answer(self, text: str | Mapping[str, Any], schema: Schema, price: Price | None, *, factor: float) -> Answer:
        """What a body of HTTP status 200 says: answered, refused, truncated or invalid.

        Args:
            text: the body, or what its JSON holds.
            factor: of the price.
        """
        try:
            body = json.loads(text) if isinstance(text, str) else text
            said = _of_responses(body) if self.api == "responses" else _of_chat(body)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            return Answer(Status.INVALID, detail="the server's answer has not the form of the API")
        cost = None if price is None else price.of(said.usage, cache_writes=said.cache_writes, factor=factor)
        facts: dict[str, Any] = {"usage": said.usage, "model": said.model, "cost_usd": cost}
        if said.status is not Status.ANSWERED:
            return Answer(said.status, detail=said.detail, **facts)
        try:
            return Answer(Status.ANSWERED, schema.parse(said.detail), **facts)
        except ValueError as error:
            return Answer(Status.INVALID, detail=str(error), **facts)


def shortened(body: Any) -> Any:
    """A body for the screen, without most of the photo."""
    if isinstance(body, str) and body.startswith("data:") and len(body) > _SHOWN:
        return f"{body[:_SHOWN]}... ({len(body):,} signs)"
    if isinstance(body, Mapping):
        return {key: shortened(value) for key, value in body.items()}
    return [shortened(value) for value in body] if isinstance(body, list) else body


@dataclass(frozen=True)
class _Said:
    """`detail`: the answer's text where it was answered, else the reason."""

    status: Status
    detail: str
    usage: Usage
    cache_writes: int
    model: str


def _of_responses(body: Mapping[str, Any]) -> _Said:
    usage = body.get("usage") or {}
    details = usage.get("input_tokens_details") or {}
    parts = [part for item in body["output"] if item["type"] == "message" for part in item["content"]]
    refusal = next((part["refusal"] for part in parts if part["type"] == "refusal"), None)
    text = "".join(part["text"] for part in parts if part["type"] == "output_text")
    reason = (body.get("incomplete_details") or {}).get("reason")
    status = body["status"]
    if refusal is None and status not in ("completed", "incomplete"):
        error = body.get("error") or {}
        found = Status.ERROR, f"{status}: {error.get('message') or error.get('code') or 'no reason given'}"
    else:
        found = _judge(text, refusal, None if status == "completed" else reason or "no reason given")
    counted = Usage(usage.get("input_tokens", 0), details.get("cached_tokens") or 0, usage.get("output_tokens", 0))
    return _Said(*found, counted, details.get("cache_write_tokens") or 0, str(body.get("model", "")))


def _of_chat(body: Mapping[str, Any]) -> _Said:
    usage = body.get("usage") or {}
    details = usage.get("prompt_tokens_details") or {}
    choice = body["choices"][0]
    message, ended = choice["message"], choice.get("finish_reason")
    reason = {"length": "max_output_tokens", "content_filter": "content_filter"}.get(ended)
    found = _judge(message.get("content") or "", message.get("refusal"), reason)
    counted = Usage(usage.get("prompt_tokens", 0), details.get("cached_tokens") or 0, usage.get("completion_tokens", 0))
    return _Said(*found, counted, details.get("cache_write_tokens") or 0, str(body.get("model", "")))


def _judge(text: str, refusal: str | None, incomplete: str | None) -> tuple[Status, str]:
    if refusal:
        return Status.REFUSED, refusal
    if incomplete == "content_filter":
        return Status.REFUSED, "stopped by the provider's content filter"
    if incomplete:
        return Status.TRUNCATED, f"cut off ({incomplete}); raise labeler.max_output_tokens"
    return Status.ANSWERED, text
