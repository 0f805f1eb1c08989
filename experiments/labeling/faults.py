"""How the server misbehaves on command: one word a request."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

# word -> status, error code, message; what the API is known to answer
ERRORS: dict[str, tuple[int, str, str]] = {
    "429": (429, "rate_limit_exceeded", "Rate limit reached for requests"),
    "429_after": (429, "rate_limit_exceeded", "Rate limit reached for requests"),
    "429_ms": (429, "rate_limit_exceeded", "Rate limit reached for requests"),
    "429_date": (429, "rate_limit_exceeded", "Rate limit reached for requests"),
    "quota": (
        429,
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
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
ANSWERS = ("ok", "slow", "refusal", "truncated", "filtered", "malformed", "violation", "not_json")
CONNECTION = ("hang", "cut")
WORDS = (*ANSWERS, *CONNECTION, *ERRORS)
BATCHES = ("completed", "expired", "failed", "cancelled", "token_limit")


def error_body(word: str) -> dict[str, Any]:
    status, code, message = ERRORS[word]
    kind = "insufficient_quota" if word == "quota" else "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


@dataclass
class Faults:
    """Which word comes next.

    Attributes:
        script: words for the first requests, in the order in which they arrive.
        of_image: words for the first requests of one image.
        shares: word -> share of all other requests.
        always: word for what is left.
        batches: outcomes of the first batches; later ones are completed.
    """

    script: list[str] = field(default_factory=list)
    of_image: dict[str, list[str]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    always: str = "ok"
    batches: list[str] = field(default_factory=list)
    seed: int = 0

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._random = random.Random(self.seed)
        check([*self.script, *self.shares, self.always], WORDS)
        check(self.batches, BATCHES)

    def next(self, image: str | None) -> str:
        with self._lock:
            if image and self.of_image.get(image):
                return self.of_image[image].pop(0)
            if self.script:
                return self.script.pop(0)
            drawn = self._random.random()
            for word, share in self.shares.items():
                if drawn < share:
                    return word
                drawn -= share
            return self.always

    def next_batch(self) -> str:
        with self._lock:
            return self.batches.pop(0) if self.batches else "completed"


def check(words: Iterable[str], known: Iterable[str], fail: Callable[[str], Any] | None = None) -> None:
    """Raises ValueError (or calls `fail`) for a word that is not known."""
    if unknown := [word for word in words if word not in known]:
        message = f"{', '.join(unknown)}: none of {', '.join(known)}"
        if fail is None:
            raise ValueError(message)
        fail(message)
