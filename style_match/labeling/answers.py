"""Requests, answers, and the interface between the labeling step and a labeler."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from enum import StrEnum
from functools import cached_property
from operator import add
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from style_match.data.fingerprints import PhotoFacts
from style_match.data.schema import Schema
from style_match.labeling.photos import Encoding, encode
from style_match.utils.errors import UserError
from style_match.utils.progress import Advance

if TYPE_CHECKING:
    from style_match.labeling.recorder import Recorder


class Status(StrEnum):
    """How a request ended. Only ANSWERED is final; the next run asks again for all others."""

    ANSWERED = "answered"
    REFUSED = "refused"  # by the model or a content filter
    TRUNCATED = "truncated"  # by a limit on tokens
    INVALID = "invalid"  # does not fit the schema
    ERROR = "error"  # no answer arrived


@dataclass(frozen=True)
class Usage:
    """Tokens as counted by the provider; `cached_tokens` and `cache_writes` are part of `input_tokens`."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cache_writes: int = 0  # stored by the provider for reuse

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*map(add, astuple(self), astuple(other)))


@dataclass(frozen=True)
class Answer:
    """Answer to one request.

    Attributes:
        values: the schema's attributes if `status` is ANSWERED, else None.
        detail: the reason why there are no values.
        model: as named by the provider.
        cost_usd: None if the price or the number of tokens is unknown.
    """

    status: Status
    values: dict[str, Any] | None = None
    detail: str = ""
    usage: Usage = Usage()
    model: str = ""
    cost_usd: float | None = None


@dataclass(frozen=True)
class Estimate:
    """Tokens and US dollars of several requests before they are sent; `note` names the assumptions."""

    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    note: str = ""


@dataclass(frozen=True)
class Request:
    """One question about one photo. Files with equal bytes share a request.

    Attributes:
        images: names of the photos in metadata.jsonl; never sent.
        photo: file of the first image.
        facts: hash of the file, size of the photo, and the like.
        instructions, text: the prompt in the chosen language.
        labeler: `Labeler.identity()`.
    """

    images: tuple[str, ...]
    photo: Path
    facts: PhotoFacts
    instructions: str
    text: str
    schema: Schema
    encoding: Encoding
    labeler: Mapping[str, Any]

    @property
    def image(self) -> str:
        """Name of the first photo, for messages."""
        return self.images[0]

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return self.facts.sha256

    @cached_property
    def key(self) -> str:
        """Hash (64 hex digits) of everything that decides the answer; the key of the stored answer."""
        encoding = {
            "max_side_px": self.encoding.max_side_px,
            "jpeg_quality": self.encoding.jpeg_quality,
            "decode": self.facts.decode_policy,
        }
        parts = [self.instructions, self.text, self.schema.json_schema, encoding, dict(self.labeler)]
        return hashlib.sha256(f"{self.sha256} {json.dumps(parts, sort_keys=True)}".encode()).hexdigest()

    def jpeg(self) -> bytes:
        """Encode the photo for sending, see `encode`.

        Raises:
            UserError: The file cannot be read or has changed.
        """
        try:
            content = self.photo.read_bytes()
        except OSError as error:
            raise UserError(f"{self.photo}: cannot be read ({error.strerror}). Run the command again.") from error
        if hashlib.sha256(content).hexdigest() != self.sha256:
            raise UserError(f"{self.photo}: has changed since the start. Run the command again.")
        return encode(content, self.encoding)


@dataclass(frozen=True)
class Task:
    """What the step passes to every labeler besides the labeler's own options.

    Attributes:
        out: folder of the answers; a labeler may keep its own files there.
        concurrency: maximal number of simultaneous requests.
        max_faults_shown: in one message about a file.
        show: whether progress is shown.
    """

    schema: Schema
    language: str
    out: Path
    concurrency: int
    max_faults_shown: int
    show: bool


class Labeler(Protocol):
    """Made by `instantiate(conf/labeler/NAME.yaml)(task=Task(...))`; the YAML has `_target_` and `_partial_: true`.

    Constructing one needs no key and no network: a run whose answers are all stored sends nothing.
    """

    def identity(self) -> dict[str, Any]:
        """Return what decides the answers (model, effort, ...) as JSON without secrets; part of each request's key."""

    def estimate(self, requests: Sequence[Request]) -> Estimate | None:
        """Return tokens and cost of all requests; None if nothing is paid."""

    def preview(self, request: Request) -> dict[str, Any]:
        """Return one request as it would be sent, with a shortened photo."""

    def label(self, requests: Sequence[Request], recorder: "Recorder", progress: Advance) -> None:
        """Answer every request; failures are stored as answers, too.

        Call `recorder.before_sending` before each request is sent, and `recorder.store` with each answer.

        Raises:
            UserError: The run has to stop (wrong key, quota, unknown model, no network, cost limit). Answers that
                arrived before are stored.
        """
