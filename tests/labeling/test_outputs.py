"""What a command prints about its requests and answers."""

from style_match.labeling.answers import Estimate
from style_match.labeling.outputs import counts, describe_plan, leaking
from tests.labeling.makers import make_schema, style_values

SCHEMA = make_schema()


def test_before_sending():
    assert describe_plan(0, None) == "to send: nothing, all answers are stored"
    assert "free of charge" in describe_plan(3, None)
    said = describe_plan(3, Estimate(900, 60, 0.12, "of today"))
    assert "3 photos, about 900 input tokens, 60 output tokens, $0.1200 (of today)" in said
    assert "price unknown" in describe_plan(3, Estimate(900, 60, None))


def test_counts_by_class():
    printed = counts(SCHEMA, {"a": style_values(0), "b": style_values(1), "c": {"caption": "x"}}, 4, "synthetic data")
    assert printed.startswith("style labels of 3 of 4 photos, synthetic data")
    assert [line.split() for line in printed.splitlines() if "Casual" in line] == [["Casual_Basic", "1", "33.3", "%"]]
    assert printed.count("(none)") == 3


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
