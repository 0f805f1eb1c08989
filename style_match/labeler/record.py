"""The ledger as a labeler sees it: it counts what is sent and spent, and says stop where the money allowed is gone."""

import threading
from collections import Counter
from collections.abc import Sequence

from style_match.errors import UserError
from style_match.labeler.answer import Answer, Estimate, Status, Usage
from style_match.labeler.ledger import Ledger
from style_match.labeler.request import Request


class LedgerRecord:
    """A `Record` of one command.

    Args:
        estimate: of `requests`; None where nothing is paid.
        max_cost_usd: of this command; None: no bound.

    Attributes:
        num_sent: requests sent, repeated ones too.
        kinds: how many answers of each status came.
        usage, cost_usd: tokens and money of this command; `cost_usd` counts what has a price.

    Raises:
        UserError: the estimate is above `max_cost_usd`, or there is no price to compare with it.
    """

    def __init__(
        self, ledger: Ledger, requests: Sequence[Request], *, estimate: Estimate | None, max_cost_usd: float | None
    ):
        self._ledger = ledger
        self._lock = threading.Lock()
        self._in_flight: set[str] = set()
        self._most = max_cost_usd if estimate is not None else None
        cost = estimate.cost_usd if estimate is not None else 0.0
        if self._most is not None and requests:
            if cost is None:
                raise UserError(
                    f"labeler.max_cost_usd={self._most:g} needs the price of the model, which is not known: write its "
                    "price into the labeler's config, or labeler.max_cost_usd=null."
                )
            if cost > self._most:
                raise UserError(
                    f"{len(requests)} requests are estimated to cost ${cost:.2f}, more than "
                    f"labeler.max_cost_usd={self._most:g}. Raise it, label fewer photos, or take a cheaper model."
                )
        self._of_one = (cost or 0.0) / max(len(requests), 1)
        self.num_sent = 0
        self.kinds: Counter[Status] = Counter()
        self.usage, self.cost_usd = Usage(), 0.0

    def asked(self, request: Request) -> None:
        with self._lock:
            expected = self.cost_usd + self._of_one * len({*self._in_flight, request.key})
            if self._most is not None and expected > self._most + 1e-9:
                raise UserError(
                    f"labeler.max_cost_usd={self._most:g} is reached: ${self.cost_usd:.4f} spent by this command. What "
                    "was answered is stored; the same command goes on with the rest."
                )
            self._in_flight.add(request.key)
            self.num_sent += 1
        self._ledger.asked(request.key)

    def answered(self, request: Request, answer: Answer) -> None:
        self.answered_all([(request, answer)])

    def answered_all(self, answers: Sequence[tuple[Request, Answer]]) -> None:
        self._ledger.answered(answers)
        with self._lock:
            for request, answer in answers:
                self._in_flight.discard(request.key)
                self.kinds[answer.status] += 1
                self.usage += answer.usage
                self.cost_usd += answer.cost_usd or 0.0

    def forget_asked(self, request: Request) -> None:
        with self._lock:
            self._in_flight.discard(request.key)
            self.num_sent -= 1
        self._ledger.forget_asked(request.key)
