"""Counting and money: nothing is asked that is not allowed."""

import pytest

from style_match.labeling.answers import Answer, Estimate, Status, Usage
from style_match.labeling.ledger import Ledger, LedgerRecord
from style_match.utils.errors import UserError
from tests.labeling.makers import make_request, make_schema, style_values

REQUESTS = [make_request(str(number), make_schema()) for number in range(4)]


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path) as ledger:
        yield ledger


def record(ledger, cost, most, requests=REQUESTS) -> LedgerRecord:
    return LedgerRecord(ledger, requests, estimate=Estimate(100, 10, cost), max_cost_usd=most)


def test_an_estimate_above_the_bound_does_not_start(ledger):
    with pytest.raises(UserError, match=r"estimated to cost \$2\.00, more than labeler\.max_cost_usd=1\.5"):
        record(ledger, 2.0, 1.5)
    record(ledger, 1.5, 1.5)
    record(ledger, 2.0, None)


def test_a_bound_needs_a_price(ledger):
    with pytest.raises(UserError, match="needs the price of the model"):
        record(ledger, None, 1.0)
    record(ledger, None, None)
    record(ledger, None, 1.0, requests=[])
    LedgerRecord(ledger, REQUESTS, estimate=None, max_cost_usd=1.0).asked(REQUESTS[0])


def test_asking_stops_where_the_next_would_pass_the_bound(ledger):
    spent = record(ledger, 0.4, 0.6)  # 0.1 each
    spent.asked(REQUESTS[0])
    spent.answered(REQUESTS[0], Answer(Status.ANSWERED, style_values(), usage=Usage(9, 1, 2), cost_usd=0.25))
    spent.asked(REQUESTS[1])
    with pytest.raises(UserError, match=r"labeler\.max_cost_usd=0\.6 is reached") as caught:
        spent.asked(REQUESTS[2])  # 0.25, and two in flight that will cost as much each: not 0.1, as was estimated
    spent.asked(REQUESTS[1])  # the same once more is not a second photo
    spent.answered(REQUESTS[1], Answer(Status.REFUSED, detail="no", cost_usd=0.05))
    assert "$0.3000 spent by this command" in str(caught.value)  # what was in flight has ended meanwhile
    spent.asked(REQUESTS[2])
    spent.forget_asked(REQUESTS[2])
    assert (spent.num_sent, spent.kinds, spent.usage) == (3, {Status.ANSWERED: 1, Status.REFUSED: 1}, Usage(9, 1, 2))
    assert ledger.take_in_flight() == 0


def test_what_an_earlier_command_sent_is_beside_the_bound(ledger):
    keys = {request.key for request in REQUESTS[:2]}
    spent = LedgerRecord(ledger, REQUESTS, estimate=Estimate(100, 10, 0.4), max_cost_usd=0.2, at_work=keys)
    spent.answered(REQUESTS[0], Answer(Status.ANSWERED, style_values(), cost_usd=0.1))
    assert (spent.cost_usd, spent.earlier_usd) == (0.1, 0.1)
    spent.asked(REQUESTS[2])
    spent.asked(REQUESTS[1])  # its batch had no answer: it is sent again, and paid by this command
    with pytest.raises(UserError, match=r"\$0\.0000 spent"):
        spent.asked(REQUESTS[3])
    with pytest.raises(UserError, match="2 requests are estimated"):
        LedgerRecord(ledger, REQUESTS, estimate=Estimate(100, 10, 0.4), max_cost_usd=0.1, at_work=keys)
