"""What an error of the API means: ask again, note it for the photo, or stop the whole run."""

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from tenacity import RetryCallState
from tenacity.wait import wait_base, wait_exponential, wait_random

from style_match.errors import UserError
from style_match.labeler.answer import Answer, Status
from style_match.labeler.client import without_secrets

if TYPE_CHECKING:
    from openai import APIError

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
