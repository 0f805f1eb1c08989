"""Requests of the two interfaces, responses and chat completions, and the bodies that answer them."""

import base64
import io
import json
import math
from dataclasses import dataclass
from typing import Any

from PIL import Image

RATE = (429, "rate_limit_exceeded", "Rate limit reached for requests")
# word -> status, error code, message; known answers of the API
ERRORS: dict[str, tuple[int, str, str]] = {
    **dict.fromkeys(("429", "429_after", "429_ms", "429_date"), RATE),
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


@dataclass(frozen=True)
class Asked:
    """The content of a request of either interface."""

    model: str
    jpeg: bytes
    text: str
    json_schema: dict[str, Any]


def read(path: str, body: dict[str, Any]) -> Asked:
    """Read a request; raises KeyError, StopIteration or AssertionError if the API would refuse it."""
    if path.endswith("/responses"):
        parts = [part for item in body["input"] for part in item["content"]]
        url = next(part["image_url"] for part in parts if part["type"] == "input_image")
        instructions, answer = body["instructions"], body["text"]["format"]
    else:
        instructions, parts = (message["content"] for message in body["messages"])
        url = next(part["image_url"]["url"] for part in parts if part["type"] == "image_url")
        answer = body["response_format"]["json_schema"]
    head, _, data = url.partition(",")
    schema = answer["schema"]
    assert answer["strict"] and schema["additionalProperties"] is False and head == "data:image/jpeg;base64"
    assert set(schema["required"]) == set(schema["properties"])
    text = next(part["text"] for part in parts if part["type"].endswith("text"))
    return Asked(body["model"], base64.b64decode(data), f"{instructions}\n{text}", schema)


def body_of(path: str, asked: Asked, values: dict[str, Any], word: str) -> dict[str, Any]:
    """Return the answer in the form of the request's interface.

    Args:
        word: ok, refusal, truncated, filtered, malformed or violation.
    """
    text = json.dumps(values, ensure_ascii=False)
    if word in ("malformed", "truncated", "filtered"):
        text = text[: len(text) // 2]
    elif word == "violation":
        text = json.dumps({**values, next(iter(values)): "No_Such_Class"}, ensure_ascii=False)
    refusal = "I'm sorry, I can't help with that." if word == "refusal" else None
    width, height = Image.open(io.BytesIO(asked.jpeg)).size
    tokens_in = math.ceil(width / 32) * math.ceil(height / 32)
    tokens_in += len((asked.text + str(asked.json_schema)).encode()) // 4
    tokens_out = len((refusal or text).encode()) // 4
    if path.endswith("/responses"):
        reason = {"truncated": "max_output_tokens", "filtered": "content_filter"}.get(word)
        said = {"type": "refusal", "refusal": refusal} if refusal else {"type": "output_text", "text": text}
        return {
            "object": "response",
            "model": asked.model,
            "status": "incomplete" if reason else "completed",
            "incomplete_details": {"reason": reason} if reason else None,
            "error": None,
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "role": "assistant", "content": [said]},
            ],
            "usage": {
                "input_tokens": tokens_in,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": tokens_out,
            },
        }
    finish = {"truncated": "length", "filtered": "content_filter"}.get(word, "stop")
    message = {"role": "assistant", "content": None if refusal else text, "refusal": refusal}
    return {
        "object": "chat.completion",
        "model": asked.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": tokens_in,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens": tokens_out,
        },
    }
