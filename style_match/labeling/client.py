"""The OpenAI client with bounded answers: where photos may be sent, with which key, and what errors mean."""

import asyncio
import json
import logging
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx2
from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    DefaultAsyncHttpxClient,
    Omit,
    OpenAIError,
    Timeout,
)

from style_match.labeling.answers import Answer, Status
from style_match.utils.errors import UserError
from style_match.utils.text import safe

CONNECT_TIMEOUT_S = 10
MAX_WAIT_S = 120  # the OpenAI client does not retry if Retry-After is longer
MAX_ANSWER_BYTES = 16 * 2**20  # decompressed
MAX_FILE_BYTES = 2**30  # answers of a batch
NO_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "account_deactivated"}
REFUSALS = {"invalid_prompt", "content_policy_violation", "content_filter", "moderation_blocked"}
RETRIED = {408, 409, 425, 429}  # and all of at least 500
# codes and parameters of a 400 that is an error in every request, not in one photo
_IN_EVERY_REQUEST = {
    *("invalid_json_schema", "unsupported_parameter", "unsupported_value", "unknown_parameter", "model_not_found"),
    *("missing_required_parameter", "integer_below_min_value", "integer_above_max_value"),
    *("model", "text", "response_format", "reasoning", "store", "max_output_tokens", "max_completion_tokens"),
}
# status of an error that a server sent with status 200 and without a number
_STATUS_OF = {"invalid_request_error": 400, "invalid_api_key": 401, "authentication_error": 401}
_STATUS_OF |= {"model_not_found": 404, "not_found_error": 404, "rate_limit_exceeded": 429, "rate_limit_error": 429}
_PLATFORM_HEADERS = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
_OPENAI_HOST = "api.openai.com"
_LOOPBACK = re.compile(r"localhost|127(\.[0-9]{1,3}){3}|::1")
_KEY_LIKE = re.compile(r"\b(sk|sess|org|proj)-[\w*.-]{4,}")


class Unreachable(OpenAIError):
    """No connection was ever made; not retried."""


class TooLong(OpenAIError):
    """The answer exceeds its limit of bytes; not retried."""


class BoundedClient(DefaultAsyncHttpxClient):
    """HTTP client that reads each answer completely, within limits of bytes and time.

    Errors that were sent with status 200 get the status that they name. An exhausted quota is marked as not to be
    retried: the OpenAI client would retry it like any other 429.

    Args:
        answer_timeout_s: for a complete answer; files of batches are bounded by `timeout` only.
    """

    def __init__(self, *, answer_timeout_s: float, **options: Any) -> None:
        super().__init__(**options)
        self.answer_timeout_s, self.is_connected = answer_timeout_s, False

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        is_file = request.url.path.rstrip("/").endswith(("/files", "/content"))
        try:
            async with asyncio.timeout(None if is_file else self.answer_timeout_s):
                response = await super().send(request, **{**options, "stream": True})
                self.is_connected = True
                try:
                    content = await _read(response, MAX_FILE_BYTES if is_file else MAX_ANSWER_BYTES)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise httpx2.ReadTimeout(f"no answer within {self.answer_timeout_s:g} s", request=request) from None
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            if self.is_connected:
                raise
            raise Unreachable(str(error) or "no connection") from error
        headers = httpx2.Headers(response.headers)
        for name in ("content-encoding", "content-length", "transfer-encoding"):  # of the bytes as they were sent
            headers.pop(name, None)
        status = response.status_code
        if status == 200 and not is_file:
            status = error_status(content) or status
        if status >= 400 and any(code.encode() in content for code in NO_CREDIT):
            headers["x-should-retry"] = "false"
        return httpx2.Response(status, headers=headers, content=content, request=request)


async def _read(response: httpx2.Response, max_bytes: int) -> bytes:
    content = bytearray()
    async for part in response.aiter_bytes():
        content += part
        if len(content) > max_bytes:
            raise TooLong(f"the answer has more than {max_bytes:,} bytes; lower labeler.max_output_tokens")
    return bytes(content)


def error_status(content: bytes) -> int | None:
    """Return the status of an error sent with status 200; 502 if the error names none; None if it is no error.

    >>> error_status(b'{"error": {"message": "overloaded", "code": 503}}')
    503
    """
    try:
        body = json.loads(content) if b'"error"' in content else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(body, Mapping) or body.get("choices") or "output" in body:
        return None
    if not (error := body if body.get("object") == "error" else body.get("error")):
        return None
    fields = error if isinstance(error, Mapping) else {}
    words = [str(each.get(key)) for each in (fields, body) for key in ("code", "status", "status_code", "type")]
    numbers = [int(word) for word in words if re.fullmatch("[45][0-9][0-9]", word)]
    return next(iter([*numbers, *(_STATUS_OF[word] for word in words if word in _STATUS_OF)]), 502)


class Address:
    """The URL of a server.

    Attributes:
        name: host and port; for OpenAI only the host.
        shown: the URL without user, password and query.

    Raises:
        UserError: The URL is broken, or would send photos unencrypted over the network.
    """

    def __init__(self, base_url: str, *, allow_http: bool) -> None:
        try:
            parts = urlsplit(base_url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:  # not shown: the broken part may be a password
            raise UserError("labeler.base_url is not a URL. Set https://HOST:PORT/v1.") from None
        self.shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"labeler.base_url={self.shown} is not a URL. Set https://HOST/v1.")
        self.url, host = base_url, parts.hostname
        self.is_openai = host == _OPENAI_HOST or host.endswith(f".{_OPENAI_HOST}")
        self.is_local = bool(_LOOPBACK.fullmatch(host))
        self.name = host if self.is_openai else f"{host}:{port}"
        if parts.scheme == "http" and not self.is_local and not allow_http:
            raise UserError(
                f"labeler.base_url={self.shown}: photos would be sent unencrypted. Use https, or set "
                "labeler.allow_http=true if you trust the network."
            )


def read_key(variable: str | None) -> str:
    """Return the key from the environment; "none" if the server needs none.

    Raises:
        UserError: The variable is not set or is not a key.
    """
    if variable is None:
        return "none"
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(f"No API key found. Set the environment variable {variable} (named by labeler.key_env).")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise UserError(f"{variable} contains characters that no key has. Set it again.")
    return key


def without_key(text: str, key: str) -> str:
    """Return a text of the server without the key and without anything that looks like one."""
    return _KEY_LIKE.sub("(key)", text.replace(key, "(key)") if key != "none" else text)


def one_line(text: object, key: str) -> str:
    """Return a text of the server for a message or a file: one short line without the key."""
    return " ".join(without_key(safe(str(text)), key).split())[:300]


def connect(address: Address, key: str, *, timeout_s: float, max_retries: int) -> AsyncOpenAI:
    """Return the OpenAI client, which retries and waits by itself and follows no redirects.

    Custom headers of the environment are never sent, organisation and project only to OpenAI; a local server is
    reached without a proxy.
    """
    for logger in ("httpx2", "openai"):
        logging.getLogger(logger).setLevel(logging.WARNING)  # they log URLs, which may hold a secret
    os.environ.pop("OPENAI_CUSTOM_HEADERS", None)  # the OpenAI client would send them to any server
    headers: dict[str, Any] = {"User-Agent": "style_match"}
    headers |= {f"X-Stainless-{name}": Omit() for name in _PLATFORM_HEADERS}
    http_client = BoundedClient(answer_timeout_s=timeout_s, follow_redirects=False, trust_env=not address.is_local)
    client = AsyncOpenAI(
        api_key=key,
        admin_api_key="",
        base_url=address.url,
        max_retries=max_retries,
        timeout=Timeout(timeout_s, connect=CONNECT_TIMEOUT_S),
        default_headers=headers,
        http_client=http_client,
    )
    if not address.is_openai:
        client.organization = client.project = None
    return client


def no_credit(server: str, code: str) -> UserError:
    return UserError(
        f"{server}: the account's quota is exhausted ({code}). Raise its limit or add credit, then run the same "
        "command again; stored answers are not requested again."
    )


def explain(error: OpenAIError, *, server: str, model: str, key: str, key_env: str | None) -> Answer | UserError:
    """Turn an error that remains after all retries into an answer of one photo, or the error that ends the run."""
    if isinstance(error, Unreachable):
        return UserError(
            f"Cannot reach {server}: {one_line(error, key)}. Check the network and labeler.base_url, then run the same "
            "command again."
        )
    if isinstance(error, APITimeoutError):
        return Answer(Status.ERROR, detail="timed out: no complete answer within labeler.timeout_s")
    if isinstance(error, APIConnectionError):
        return Answer(Status.ERROR, detail=f"connection: {one_line(error.__cause__ or error, key)}. Run again later.")
    if not isinstance(error, APIStatusError):
        return Answer(Status.ERROR, detail=one_line(error, key))
    status, message = error.status_code, one_line(_message(error), key)
    codes = {str(error.code), str(error.type)}
    code, param = (one_line(word or "", key) for word in (error.code or error.type, error.param))
    numbered = f"{status} {'' if code == str(status) else code}".strip()
    if codes & NO_CREDIT or status == 402:
        return no_credit(server, code)
    if status == 401:
        which = f"the key in {key_env}" if key_env else "requests without a key; set labeler.key_env"
        return UserError(f"{server} does not accept {which} ({numbered}).")
    if status == 403:
        return UserError(f"{server} forbids this ({numbered}): {message}. Use another key or another labeler.model.")
    if status == 404:
        return UserError(
            f"{server} does not have the model {model} or this interface ({numbered}): {message}. Set another "
            "labeler.model, labeler.base_url, or labeler.api=chat."
        )
    if 300 <= status < 400:
        return UserError(f"{server} redirects to another address ({status}). Set it as labeler.base_url.")
    if status in RETRIED or status >= 500:
        if (wait_s := _retry_after_s(error.response.headers)) > MAX_WAIT_S:
            return UserError(
                f"{server} requests a pause of {wait_s:.0f} s ({numbered}): {message}. Run the command again later."
            )
        remedy = "The server is overloaded or broken: run again later, with a lower labeler.concurrency."
        return Answer(Status.ERROR, detail=f"{numbered}: {message}. {remedy}")
    if codes & REFUSALS:
        return Answer(Status.REFUSED, detail=f"{code}: {message}")
    if (codes | {re.split(r"[.\[]", param)[0]}) & _IN_EVERY_REQUEST:
        return UserError(
            f"{server} rejects the request ({numbered}{f', {param}' if param else ''}): {message}. Change the schema "
            "or the labeler's options; labeler.dry_run=true shows the request."
        )
    return Answer(Status.ERROR, detail=f"{numbered}: {message}")


def _message(error: APIStatusError) -> str:
    """Return the server's own message, without what the client adds."""
    found = error.body.get("message") if isinstance(error.body, Mapping) else error.body
    return found if isinstance(found, str) and found.strip() else error.message


def _retry_after_s(headers: Mapping[str, str]) -> float:
    try:
        return float(headers.get("retry-after", 0))
    except ValueError:
        return 0.0
