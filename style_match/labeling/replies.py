"""Answers in the two interfaces of the OpenAI API: responses and chat completions."""

import json
import re
from collections.abc import Mapping
from typing import Any

from style_match.data.schema import Schema
from style_match.labeling.answers import Answer, Status, Usage
from style_match.labeling.cost import Price
from style_match.utils.text import quoted, safe

MAX_TOKENS = 10**8  # of a request; larger counts are errors of the server
MAX_NAME, MAX_DETAIL = 200, 1000  # characters

_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")  # of a chat message
# everything up to the end of the reasoning (its start is often part of the prompt), and marks around an answer
_REASONING = re.compile(
    r"\A.*(?:</think(?:ing)?>|\[/THINK\]|\u25c1/think\u25b7)|<\|(?:begin|end)_of_box\|>|\A\ufeff", re.DOTALL
)
_REASONING_MARK = re.compile(r"</?think(?:ing)?>|\[/?THINK\]|\u25c1/?think\u25b7")
_FENCE = re.compile(r"```[a-zA-Z]*\s*(.*?)```", re.DOTALL)
_REFUSAL = re.compile(
    r"(?:I['’]m|I am) (?:really |very |truly |so )?(?:sorry|unable|not able)|Sorry|Apologies|I apologi[sz]e"
    r"|Unfortunately|I (?:can['’]?t|cannot|can not|won['’]?t|will not|must decline)|As an AI"
    r"|죄송|미안|抱歉|对不起|申し訳",
    re.IGNORECASE,
)
_CHECK_SERVER = "Check that labeler.base_url is the API (usually ending in /v1) and that labeler.api fits the server."
_NO_SCHEMA = (
    "The server seems to ignore the schema (response_format). Enable structured outputs there, or use another "
    "labeler.model."
)
_TOO_MUCH_REASONING = (
    "The model seems to reason before it answers. Turn reasoning off at the server, raise "
    "labeler.max_output_tokens, or use another labeler.model."
)


def parse(text: str | Mapping[str, Any], schema: Schema, price: Price | None) -> Answer:
    """Parse a body of HTTP status 200, or its JSON, in the form of either interface."""
    try:
        body = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, Mapping):
        return Answer(Status.INVALID, detail=f"the answer is no JSON object{_excerpt(text)}. {_CHECK_SERVER}")
    usage = _usage(body.get("usage"))
    facts: dict[str, Any] = {
        "usage": usage or Usage(),
        "cost_usd": price.of(usage) if price and usage else None,
        "model": safe(str(body.get("model") or ""))[:MAX_NAME],
    }
    try:
        status, content = _of_responses(body) if "output" in body else _of_chat(body)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        detail = f"the answer does not have the form of the API{_excerpt(text)}. {_CHECK_SERVER}"
        return Answer(Status.INVALID, detail=detail, **facts)
    if status is not Status.ANSWERED:
        return Answer(status, detail=safe(content)[:MAX_DETAIL], **facts)
    try:
        return Answer(Status.ANSWERED, _values(content, schema), **facts)
    except ValueError as error:
        status, detail = _explain(content, str(error))
        return Answer(status, detail=detail, **facts)


def _usage(usage: Any) -> Usage | None:
    """Return the counted tokens in the words of either interface; None if counts are missing or impossible."""
    if not isinstance(usage, Mapping):
        return None
    read, written = ("input", "output") if "input_tokens" in usage else ("prompt", "completion")
    num_input, num_output = _count(usage.get(f"{read}_tokens")), _count(usage.get(f"{written}_tokens"))
    if num_input is None or num_output is None:
        return None
    details = usage.get(f"{read}_tokens_details")
    details = details if isinstance(details, Mapping) else {}
    num_cached = min(_count(details.get("cached_tokens")) or 0, num_input)
    num_stored = min(_count(details.get("cache_write_tokens")) or 0, num_input - num_cached)
    return Usage(num_input, num_cached, num_output, num_stored)


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS
    return int(value) if is_count else None


def _of_responses(body: Mapping[str, Any]) -> tuple[Status, str]:
    items = body["output"]
    contents = [item.get("content") for item in items if item["type"] == "message"]
    text, refusal = "".join(map(_text_of, contents)), next(filter(None, map(_refusal_in, contents)), None)
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
    message, finish = choice["message"], choice.get("finish_reason")
    content = message.get("content")
    text = _text_of(content)
    if not text.strip():  # some servers take the answer for a part of the reasoning
        text = next((f"<think>{found}" for name in _REASONING_KEYS if (found := _text_of(message.get(name)))), "")
    reasons = {"length": "max_output_tokens", "content_filter": "content_filter"}
    return _judge(text, message.get("refusal") or _refusal_in(content), reasons.get(str(finish)))


def _text_of(content: Any) -> str:
    """Join the text of a message: a string, a list of parts, or the requested object itself."""
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
    """Parse the JSON object of an answer: by itself, in a code fence, or within prose, after any reasoning.

    Raises:
        ValueError: There is no object (empty message), or it does not fit the schema.
    """
    text = _REASONING.sub("", text)
    first, last, end = text.find("{"), text.rfind("{"), text.rfind("}") + 1
    for candidate in (text, *reversed(_FENCE.findall(text)), text[first:end], text[last:end]):
        try:
            found = json.loads(candidate.strip(), strict=False)
        except (ValueError, RecursionError):
            continue
        if isinstance(found, Mapping):
            return schema.parse(json.dumps(found, ensure_ascii=False).encode(errors="ignore").decode())
    raise ValueError("")


def _explain(text: str, fault: str) -> tuple[Status, str]:
    """Return status and detail of a text that does not fit the schema."""
    if not text.strip():
        return Status.INVALID, f"the answer is empty. {_TOO_MUCH_REASONING}"
    answer = _REASONING.sub("", text)
    if not fault and _REFUSAL.match(safe(answer)):
        return Status.REFUSED, f"refused in prose: {quoted(answer)}. Leave the photo out, or use another labeler.model."
    remedy = _TOO_MUCH_REASONING if _REASONING_MARK.search(text) else _NO_SCHEMA
    return Status.INVALID, f"{safe(fault)[:MAX_DETAIL] or 'the answer is no JSON'}{_excerpt(text)}. {remedy}"


def _excerpt(text: str | Mapping[str, Any]) -> str:
    return f"; the server sent: {quoted(text if isinstance(text, str) else json.dumps(text))}"
