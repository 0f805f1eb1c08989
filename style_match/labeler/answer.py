"""What passes between the step and a labeler: answers, the record they go to, and the labeler itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from style_match.labeler.request import Request
    from style_match.schema import Schema

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
