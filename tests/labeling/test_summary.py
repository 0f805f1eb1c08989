"""What a command says of itself."""

from style_match.labeling.answers import Answer, Estimate, Status, Usage
from style_match.labeling.ledger import Ledger, LedgerRecord
from style_match.labeling.outputs import Failure, counts, said_after, said_before, said_failures, telling
from tests.labeling.makers import make_request, make_schema, style_values

SCHEMA = make_schema()


def test_before_asking():
    assert said_before(0, None) == "to ask: nothing, every answer is stored"
    assert "nothing is paid" in said_before(3, None)
    assert "3 photos, about 900 tokens in, 60 out, $0.1200 (of today)" in said_before(
        3, Estimate(900, 60, 0.12, "of today")
    )
    assert "price unknown" in said_before(3, Estimate(900, 60, None))


def test_after_asking(tmp_path):
    request = make_request("a", SCHEMA)
    with Ledger(tmp_path) as ledger:
        record = LedgerRecord(ledger, [request], estimate=None, max_cost_usd=None)
        assert said_after(record, paid=False) == "this command: 0 requests sent, no answers"
        record.asked(request)
        record.answered(request, Answer(Status.REFUSED, detail="no", usage=Usage(9, 4, 2), cost_usd=0.5))
        assert said_after(record, paid=True) == (
            "this command: 1 requests sent, 1 refused; 9 tokens in (4 cached), 2 out; $0.5000"
        )
        assert "$" not in said_after(record, paid=False)


def test_counts_by_class_with_the_photos_that_have_none():
    said = counts(SCHEMA, {"a": style_values(0), "b": style_values(1), "c": {"caption": "x"}}, 4, "synthetic data")
    assert said.startswith("style labels of 3 of 4 photos, synthetic data")
    assert [line.split() for line in said.splitlines() if "Casual" in line] == [["Casual_Basic", "1", "33.3", "%"]]
    assert said.count("(none)") == 3


def test_failures_by_kind():
    many = [Failure(f"{number}.jpg", "refused", "no", 1) for number in range(12)]
    said = said_failures([*many, Failure("x.jpg", "error", "cut", 2)])
    assert said[0].startswith("refused: 12 (0.jpg, 1.jpg") and said[0].endswith("and 2 more)")
    assert said[1] == "error: 1 (x.jpg)"


def test_texts_that_tell_the_class():
    lines = {
        "a": style_values(),
        "b": {**style_values(), "caption": "very STREET-HIP today"},
        "c": {**style_values(), "style_vibe": "Chic Modern"},
        "d": {"fashion_style": "Street_Hip"},
    }
    assert telling(SCHEMA, lines) == ["b", "c"]
    assert telling(make_schema(leave_out=["fashion_style"]), lines) == []
    assert telling(make_schema("couple"), lines) == []
