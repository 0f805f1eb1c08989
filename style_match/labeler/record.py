"""The ledger as a labeler sees it: it counts what is sent and spent, and says stop where the money allowed is gone."""

import threading
from collections import Counter
from collections.abc import Collection, Sequence

from style_match.errors import UserError
from style_match.labeler.answer import Answer, Estimate, Status, Usage
from style_match.labeler.ledger import Ledger
from style_match.labeler.request import Request


class OutOfMoney(UserError):
    """Its words are made when they are read, after what was in flight has ended and is paid too."""

    def __init__(self, record: "LedgerRecord", most: float) -> None:
        super().__init__()
        self.record, self.most = record, most

    def __str__(self) -> str:
        spent = self.record.cost_usd - self.record.earlier_usd
        return (
            f"labeler.max_cost_usd={self.most:g} is reached: ${spent:.4f} spent by this command. What was answered is "
            "stored; the same command goes on with the rest."
        )


class LedgerRecord:
    """A `Record` of one command.

    Args:
        requests: those that are to be answered.
        estimate: of `requests`; None where nothing is paid.
        max_cost_usd: of what this command sends; None: no bound.
        at_work: keys of those that an earlier command sent; they are beside the bound unless they are sent again.

    Attributes:
        num_sent: requests sent, repeated ones too.
        kinds: how many answers of each status came.
        usage, cost_usd: tokens and money of the answers that came; `cost_usd` counts what has a price.
        num_uncounted: answers whose tokens the server did not count, or counted impossibly; in the bound each is as
            dear as was estimated.
        earlier_usd: the part of `cost_usd` that is for requests `at_work`.

    Raises:
        UserError: the estimate is above `max_cost_usd`, or there is no price to compare with it.
    """

    def __init__(
        self,
        ledger: Ledger,
        requests: Sequence[Request],
        *,
        estimate: Estimate | None,
        max_cost_usd: float | None,
        at_work: Collection[str] = (),
    ):
        self._ledger, self._at_work = ledger, set(at_work)
        self._lock = threading.Lock()
        self._in_flight: set[str] = set()
        self._most = max_cost_usd if estimate is not None else None
        cost = estimate.cost_usd if estimate is not None else 0.0
        if self._most is not None and requests:
            num_new = sum(request.key not in self._at_work for request in requests)
            if cost is None:
                raise UserError(
                    f"labeler.max_cost_usd={self._most:g} needs the price of the model, which is not known: write its "
                    "price into the labeler's config, or labeler.max_cost_usd=null."
                )
            if (of_new := cost * num_new / len(requests)) > self._most:
                raise UserError(
                    f"{num_new} requests are estimated to cost ${of_new:.2f}, more than "
                    f"labeler.max_cost_usd={self._most:g}. Raise it, label fewer photos, or take a cheaper model."
                )
        self._of_one = (cost or 0.0) / max(len(requests), 1)
        self._num_priced = self.num_uncounted = 0
        self.num_sent = 0
        self.kinds: Counter[Status] = Counter()
        self.usage, self.cost_usd, self.earlier_usd = Usage(), 0.0, 0.0

    def asked(self, request: Request) -> None:
        with self._lock:
            spent = self.cost_usd - self.earlier_usd + self.num_uncounted * self._of_one
            of_one = max(self._of_one, spent / self._num_priced) if self._num_priced else self._of_one
            expected = spent + of_one * len({*self._in_flight, request.key})
            if self._most is not None and expected > self._most + 1e-9:
                raise OutOfMoney(self, self._most)
            self._in_flight.add(request.key)
            self._at_work.discard(request.key)
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
                if request.key in self._at_work:
                    self.earlier_usd += answer.cost_usd or 0.0
                elif answer.cost_usd is not None:
                    self._num_priced += 1
                elif answer.status is not Status.ERROR and self._of_one:
                    self.num_uncounted += 1

    def forget_asked(self, request: Request) -> None:
        with self._lock:
            self._in_flight.discard(request.key)
            self.num_sent -= 1
        self._ledger.forget_asked(request.key)
