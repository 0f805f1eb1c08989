"""The HTTP client below the official one: it bounds an answer in bytes and in time, and finds errors of status 200."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import httpx2
from openai import DefaultAsyncHttpxClient

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
