"""What a command prints about its requests and answers."""

from style_match.labeling.answers import Answer, Estimate, Status, Usage
from style_match.labeling.ledger import Ledger, LedgerRecorder
from style_match.labeling.outputs import Failure, by_status, counts, leaking, said_after, said_before
from tests.labeling.makers import make_request, make_schema, style_values

SCHEMA = make_schema()


def test_before_sending():
    assert said_before(0, None) == "to send: nothing, all answers are stored"
    assert "free of charge" in said_before(3, None)
    said = said_before(3, Estimate(900, 60, 0.12, "of today"))
    assert "3 photos, about 900 input tokens, 60 output tokens, $0.1200 (of today)" in said
    assert "price unknown" in said_before(3, Estimate(900, 60, None))


def test_after_sending(tmp_path):
    request = make_request("a", SCHEMA)
    with Ledger(tmp_path) as ledger:
        recorder = LedgerRecorder(ledger, num_requests=1, estimate=None, max_cost_usd=None)
        assert said_after(recorder, paid=False) == "this command: 0 requests sent, no answers"
        recorder.before_sending(request)
        recorder.store([(request, Answer(Status.REFUSED, detail="no", usage=Usage(9, 4, 2), cost_usd=0.5))])
    tokens = "9 input tokens (4 cached), 2 output tokens"
    assert said_after(recorder, paid=True) == f"this command: 1 requests sent, 1 refused; {tokens}; $0.5000"
    assert "$" not in said_after(recorder, paid=False)


def test_counts_by_class():
    printed = counts(SCHEMA, {"a": style_values(0), "b": style_values(1), "c": {"caption": "x"}}, 4, "synthetic data")
    assert printed.startswith("style labels of 3 of 4 photos, synthetic data")
    assert [line.split() for line in printed.splitlines() if "Casual" in line] == [["Casual_Basic", "1", "33.3", "%"]]
    assert printed.count("(none)") == 3


def test_failures_by_status():
    many = [Failure(f"{number}.jpg", "refused", "no", 1) for number in range(12)]
    refused, error = by_status([*many, Failure("x.jpg", "error", "cut", 2)])
    assert refused.startswith("refused: 12 (0.jpg, 1.jpg") and refused.endswith("and 2 more)")
    assert error == "error: 1 (x.jpg)"


def test_texts_that_name_the_class():
    lines = {
        "a": style_values(),
        "b": {**style_values(), "caption": "very STREET-HIP today"},
        "c": {**style_values(), "style_vibe": "Chic Modern"},
        "d": {"fashion_style": "Street_Hip"},
    }
    assert leaking(SCHEMA, lines) == ["b", "c"]
    assert leaking(make_schema(leave_out=["fashion_style"]), lines) == []
    assert leaking(make_schema("couple"), lines) == []
