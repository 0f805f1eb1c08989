"""Stores the answers of one command, counts tokens and money, and enforces the cost limit."""

import threading
from collections import Counter
from collections.abc import Sequence

from style_match.labeling.answers import Answer, Estimate, Request, Status, Usage
from style_match.labeling.ledger import Ledger
from style_match.utils.errors import UserError


class Recorder:
    """Stores answers in the ledger and checks the cost limit; may be called from several threads.

    Args:
        num_requests: number of requests of the estimate.
        estimate: None if nothing is paid.
        max_cost_usd: limit of what this command sends; None: no limit.

    Attributes:
        num_sent: number of requests sent by this command.
        statuses: number of answers of each status.
        cost_usd: cost of all answers with a known price.
        earlier_cost_usd: the part of `cost_usd` for requests that an earlier command sent.
        num_uncounted: number of answers without token counts; each counts as estimated towards the limit.

    Raises:
        UserError: The estimate exceeds `max_cost_usd`, or there is no price to compare with.
    """

    def __init__(
        self, ledger: Ledger, *, num_requests: int, estimate: Estimate | None, max_cost_usd: float | None
    ) -> None:
        self._ledger, self._lock = ledger, threading.Lock()
        self._sending: set[str] = set()
        self._max_cost_usd = max_cost_usd if estimate is not None else None
        cost = estimate.cost_usd if estimate is not None else 0.0
        if self._max_cost_usd is not None and num_requests:
            if cost is None:
                raise UserError(
                    f"labeler.max_cost_usd={self._max_cost_usd:g} needs the price of the model, which is unknown. Set "
                    "labeler.price.input, .cached and .output, or labeler.max_cost_usd=null."
                )
            if cost > self._max_cost_usd:
                raise UserError(
                    f"{num_requests} requests are estimated to cost ${cost:.2f}, more than labeler.max_cost_usd="
                    f"{self._max_cost_usd:g}. Raise the limit, label fewer photos, or use a cheaper model."
                )
        self._cost_of_one = (cost or 0.0) / max(num_requests, 1)
        self._num_priced = self.num_uncounted = self.num_sent = 0
        self.statuses: Counter[Status] = Counter()
        self.usage, self.cost_usd, self.earlier_cost_usd = Usage(), 0.0, 0.0

    def before_sending(self, request: Request) -> None:
        """Count a request that is about to be sent.

        Raises:
            UserError: The request could exceed the cost limit. Send nothing more, store the answers that still
                arrive, and raise the error again.
        """
        with self._lock:
            spent = self.cost_usd - self.earlier_cost_usd + self.num_uncounted * self._cost_of_one
            of_one = max(self._cost_of_one, spent / self._num_priced) if self._num_priced else self._cost_of_one
            expected = spent + of_one * len(self._sending | {request.key})
            if self._max_cost_usd is not None and expected > self._max_cost_usd + 1e-9:
                raise UserError(
                    f"labeler.max_cost_usd={self._max_cost_usd:g} is reached. All answers are stored; raise the limit "
                    "and run the same command again for the rest."
                )
            self._sending.add(request.key)
            self.num_sent += 1

    def store(self, answers: Sequence[tuple[Request, Answer]]) -> None:
        """Commit answers, all or none; raises UserError if that fails."""
        with self._lock:
            self._ledger.answered(answers)
            for request, answer in answers:
                self.statuses[answer.status] += 1
                self.usage += answer.usage
                self.cost_usd += answer.cost_usd or 0.0
                if request.key not in self._sending:
                    self.earlier_cost_usd += answer.cost_usd or 0.0
                elif answer.cost_usd is not None:
                    self._num_priced += 1
                elif answer.status is not Status.ERROR and self._cost_of_one:
                    self.num_uncounted += 1
                self._sending.discard(request.key)
