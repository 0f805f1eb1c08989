"""Counting requests and money: nothing is sent beyond the cost limit."""

import pytest

from style_match.labeling.answers import Answer, Estimate, Status, Usage
from style_match.labeling.ledger import Ledger
from style_match.labeling.recorder import Recorder
from style_match.utils.errors import UserError
from tests.labeling.makers import make_request, make_schema, style_values

REQUESTS = [make_request(str(number), make_schema()) for number in range(4)]


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path) as ledger:
        yield ledger


def recorder(ledger, cost, limit, num_requests=4) -> Recorder:
    estimate = Estimate(100, 10, cost)
    return Recorder(ledger, num_requests=num_requests, estimate=estimate, max_cost_usd=limit)


def test_what_is_free_or_already_sent_has_no_limit(ledger):
    Recorder(ledger, num_requests=4, estimate=None, max_cost_usd=1.0).before_sending(REQUESTS[0])
    recorder(ledger, 2.0, None)
    recorder(ledger, None, 1.0, num_requests=0)


def test_sending_stops_before_the_limit(ledger):
    spent = recorder(ledger, 0.4, 0.6)  # 0.1 each
    spent.before_sending(REQUESTS[0])
    usage = Usage(9, 1, 2)
    spent.store([(REQUESTS[0], Answer(Status.ANSWERED, style_values(), usage=usage, cost_usd=0.25))])
    spent.before_sending(REQUESTS[1])
    with pytest.raises(UserError, match=r"labeler\.max_cost_usd=0\.6 is reached"):
        spent.before_sending(REQUESTS[2])  # 0.25 for each of two in flight, although 0.1 was estimated
    spent.before_sending(REQUESTS[1])  # the same request again
    spent.store([(REQUESTS[1], Answer(Status.REFUSED, detail="no", cost_usd=0.05))])
    spent.before_sending(REQUESTS[2])
    assert (spent.num_sent, spent.statuses, spent.usage) == (4, {Status.ANSWERED: 1, Status.REFUSED: 1}, usage)


def test_requests_of_an_earlier_command_do_not_count(ledger):
    spent = recorder(ledger, 0.2, 0.2, num_requests=2)
    spent.store([(REQUESTS[0], Answer(Status.ANSWERED, style_values(), cost_usd=0.1))])
    assert (spent.cost_usd, spent.earlier_cost_usd) == (0.1, 0.1)
    spent.before_sending(REQUESTS[2])
    spent.before_sending(REQUESTS[1])  # its batch had no answer: it is sent again, and paid by this command
    with pytest.raises(UserError, match="is reached"):
        spent.before_sending(REQUESTS[3])
