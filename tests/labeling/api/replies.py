"""Requests of the two interfaces, responses and chat completions, and the bodies that answer them."""

import base64
import io
import json
import math
import time
import uuid
from dataclasses import dataclass
from typing import Any

from PIL import Image

# word -> status, error code, message; known answers of the API
ERRORS: dict[str, tuple[int, str, str]] = {
    **dict.fromkeys(
        ("429", "429_after", "429_ms", "429_date"), (429, "rate_limit_exceeded", "Rate limit reached for requests")
    ),
    "quota": (429, "insufficient_quota", "You exceeded your current quota, please check your plan."),
    "500": (500, "server_error", "The server had an error while processing your request."),
    "503": (503, "server_error", "The server is overloaded."),
    "401": (401, "invalid_api_key", "Incorrect API key provided."),
    "403": (403, "unsupported_country_region_territory", "Country, region, or territory not supported"),
    "404": (404, "model_not_found", "The model does not exist or you do not have access to it."),
    "bad_schema": (400, "invalid_json_schema", "Invalid schema for response_format."),
    "bad_image": (400, "invalid_image", "The image data you provided does not represent a valid image."),
    "flagged": (400, "invalid_prompt", "Invalid prompt: your prompt was flagged as violating our usage policy."),
    "redirect": (307, "redirect", "Moved"),
}


def error_body(word: str) -> dict[str, Any]:
    status, code, message = ERRORS[word]
    kind = "insufficient_quota" if word == "quota" else "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


class BadRequest(Exception):
    """The request is wrong; `code` and `message` as the API gives them."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


@dataclass(frozen=True)
class Asked:
    """The content of a request of either interface."""

    model: str
    jpeg: bytes
    text: str
    json_schema: dict[str, Any]


def read(path: str, body: dict[str, Any]) -> Asked:
    """Read a request; raises BadRequest if the API would refuse it."""
    try:
        if path.endswith("/responses"):
            parts = [part for item in body["input"] for part in item["content"] if isinstance(part, dict)]
            url = next(part["image_url"] for part in parts if part["type"] == "input_image")
            said = [body.get("instructions", ""), *(part["text"] for part in parts if part["type"] == "input_text")]
            answer = body["text"]["format"]
        else:
            contents = [message["content"] for message in body["messages"]]
            parts = [part for content in contents if isinstance(content, list) for part in content]
            url = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
            said = [content for content in contents if isinstance(content, str)]
            said += [part["text"] for part in parts if part["type"] == "text"]
            answer = body["response_format"]["json_schema"]
        schema, model = answer["schema"], body["model"]
    except (KeyError, StopIteration, TypeError) as error:
        raise BadRequest("invalid_request", f"A field is missing: {error!r}") from error
    if not answer.get("strict") or not is_strict(schema):
        raise BadRequest("invalid_json_schema", "Every property must be required and additionalProperties false.")
    head, _, data = url.partition(",")
    if head != "data:image/jpeg;base64":
        raise BadRequest("invalid_image", "This server takes JPEG data URLs only.")
    return Asked(model, base64.b64decode(data), "\n".join(said), schema)


def is_strict(schema: dict[str, Any]) -> bool:
    return schema.get("additionalProperties") is False and set(schema["required"]) == set(schema["properties"])


def body_of(path: str, asked: Asked, values: dict[str, Any], word: str) -> dict[str, Any]:
    """Return the answer in the form of the request's interface.

    Args:
        word: ok, refusal, truncated, filtered, malformed or violation.
    """
    text = json.dumps(values, ensure_ascii=False)
    if word in ("malformed", "truncated", "filtered"):
        text = text[: len(text) // 2]
    elif word == "violation":
        name = next((name for name, asked_for in asked.json_schema["properties"].items() if "enum" in asked_for), None)
        text = json.dumps({**values, name or "not_asked_for": "No_Such_Class"}, ensure_ascii=False)
    refusal = "I'm sorry, I can't help with that." if word == "refusal" else None
    width, height = Image.open(io.BytesIO(asked.jpeg)).size
    tokens_in = (
        math.ceil(width / 32) * math.ceil(height / 32) + len((asked.text + str(asked.json_schema)).encode()) // 4
    )
    tokens_out = len((refusal or text).encode()) // 4
    shape = _responses if path.endswith("/responses") else _chat
    return shape(asked.model, text, refusal, word, tokens_in, tokens_out)


def _responses(
    model: str, text: str, refusal: str | None, word: str, tokens_in: int, tokens_out: int
) -> dict[str, Any]:
    reasons = {"truncated": "max_output_tokens", "filtered": "content_filter"}
    said = (
        {"type": "refusal", "refusal": refusal} if refusal else {"type": "output_text", "text": text, "annotations": []}
    )
    status = "incomplete" if word in reasons else "completed"
    message = {
        "type": "message",
        "id": f"msg_{uuid.uuid4().hex}",
        "role": "assistant",
        "status": status,
        "content": [said],
    }
    return {
        "id": f"resp_{uuid.uuid4().hex}",
        "object": "response",
        "created_at": int(time.time()),
        "model": model,
        "status": status,
        "incomplete_details": {"reason": reasons[word]} if word in reasons else None,
        "error": None,
        "output": [{"type": "reasoning", "id": f"rs_{uuid.uuid4().hex}", "summary": []}, message],
        "usage": {
            "input_tokens": tokens_in,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": tokens_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": tokens_in + tokens_out,
        },
    }


def _chat(model: str, text: str, refusal: str | None, word: str, tokens_in: int, tokens_out: int) -> dict[str, Any]:
    reason = {"truncated": "length", "filtered": "content_filter"}.get(word, "stop")
    message = {"role": "assistant", "content": None if refusal else text, "refusal": refusal}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": reason, "logprobs": None}],
        "usage": {
            "prompt_tokens": tokens_in,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }
