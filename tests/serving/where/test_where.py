"""Conditions: what is read is what was written, what holds is what a reader of the rows would say."""

import operator
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.serving.where import And, Compare, In, Not, Or, check, mask, parse, without_not, written
from style_match.utils.errors import UserError

ROWS = [
    {"gender": "m", "age": "30", "vip": "true", "도시": "서울", "two words": "a"},
    {"gender": "f", "age": "", "vip": "False", "도시": "부산", "two words": "b"},
    {"gender": "m", "age": "41.5", "vip": "", "도시": "", "two words": 'it\'s "so"'},
]
COLUMNS = {name: [row[name] for row in ROWS] for name in ROWS[0]}

names = st.one_of(
    st.sampled_from(["age", "gender", "and", "in", "NOT", "true", "도시", "two words", "a-b", "9"]),
    st.text(string.ascii_letters + "_한글 .<", min_size=1, max_size=8),
)
values = st.one_of(
    st.text(max_size=12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
comparisons = st.one_of(
    st.builds(Compare, names, st.sampled_from(["==", "!=", "<", "<=", ">", ">="]), values),
    st.builds(In, names, st.lists(values, min_size=1, max_size=4).map(tuple), st.booleans()),
)
conditions = st.recursive(
    comparisons,
    lambda below: st.one_of(
        st.builds(Not, below),
        *(st.builds(kind, st.lists(below, min_size=2, max_size=3).map(tuple)) for kind in (And, Or)),
    ),
    max_leaves=8,
)


@given(conditions)
def test_a_condition_is_read_as_it_was_written(condition):
    assert parse(written(condition)) == condition


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("gender == 'm' and age < 35", [1, 0, 0]),
        ('gender == "m" AND (age >= 35 OR vip == true)', [1, 0, 1]),
        ("gender == 'f' or gender == 'm' and age > 35", [0, 1, 1]),
        ("not gender == 'm'", [0, 1, 0]),
        ("not (age < 35)", [0, 0, 1]),
        ("age != 30", [0, 0, 1]),
        ("age not in [30, 41.50]", [0, 0, 0]),
        ("age in [3e1]", [1, 0, 0]),
        ("age > -1", [1, 0, 1]),
        ("vip == false or vip != false", [1, 1, 0]),
        ("도시 in ['서울', '부산']", [1, 1, 0]),
        ("`two words` == 'it\\'s \"so\"'", [0, 0, 1]),
        ("not not not gender == 'm'", [0, 1, 0]),
    ],
)
def test_rows_that_hold(text, holds):
    assert mask(parse(text), ROWS).tolist() == [bool(each) for each in holds]


OPS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ages = st.lists(st.sampled_from(["", "18", "25", "30.0", "-3"]), min_size=2, max_size=6).filter(any)
asked = st.recursive(
    st.one_of(
        st.builds(Compare, st.just("age"), st.sampled_from(list(OPS)), st.sampled_from([18.0, 25.0, 30.0])),
        st.builds(In, st.just("age"), st.lists(st.sampled_from([18.0, -3.0]), min_size=1).map(tuple), st.booleans()),
    ),
    lambda below: st.one_of(
        st.builds(Not, below),
        *(st.builds(kind, st.lists(below, min_size=2, max_size=3).map(tuple)) for kind in (And, Or)),
    ),
    max_leaves=6,
)


def kleene(condition, cell: str) -> bool | None:
    """True, False, or None for unknown: the three-valued logic that databases use."""
    if isinstance(condition, Not):
        found = kleene(condition.part, cell)
        return None if found is None else not found
    if isinstance(condition, And | Or):
        found = [kleene(part, cell) for part in condition.parts]
        decides = isinstance(condition, Or)
        return decides if decides in found else None if None in found else not decides
    if not cell:
        return None
    if isinstance(condition, In):
        return (float(cell) in condition.values) != condition.negated
    return OPS[condition.op](float(cell), condition.value)


@given(asked, ages)
def test_what_is_unknown_is_neither_so_nor_not_so(condition, cells):
    rows = [{"age": cell} for cell in cells]
    assert mask(condition, rows).tolist() == [kleene(condition, cell) is True for cell in cells]
    flat = without_not(condition)
    assert "not " not in written(flat).replace("not in", "")


@pytest.mark.parametrize(
    ("text", "said", "place"),
    [
        ("", "expected a column, but here the text ends", 1),
        ("gender == and", "expected a 'text', a number, true or false", 11),
        ("gender = 'm'", "= is no comparison; write ==", 8),
        ("gender == m", "write a text in quotes: 'm'", 11),
        ("(age < 3", r"expected and, or, or \)", 9),
        ("age < 3)", r"expected and, or, or the end, but here '\)'", 8),
        ("gender == 'm", "' is not closed", 11),
        ("gender == 'a\\b'", "a backslash stands before a quote", 13),
        ("age in 3", "expected a list such as", 8),
        ("age in []", "expected a 'text'", 9),
        ("age < 3 && gender == 'm'", "write and", 9),
        ("__import__('os')", "expected == != <= >= < >", 11),
        ("age.__class__ == 3", r"\. does not belong here", 4),
        ("age < 3; drop", "; does not belong here", 8),
        ("age < 35years", "3 does not belong here", 7),
        ("age < 1e999", "1e999 is too large a number", 7),
        ("(" * 60 + "age < 3", "more than 50 parentheses and nots", 51),
        ("not " * 10_000 + "age < 3", "more than 50 parentheses and nots", 201),
    ],
)
def test_a_fault_is_pointed_at(text, said, place):
    with pytest.raises(UserError, match=said) as caught:
        parse(text)
    first, line, mark = str(caught.value).split("\n")
    assert first.endswith(f"(character {place})")
    assert line == f"  {text}" and mark.index("^") == place + 1


def test_the_mark_stands_below_wide_signs_too():
    with pytest.raises(UserError) as caught:
        parse("도시 = 1")
    assert str(caught.value).split("\n")[2] == "       ^"  # two columns, four cells wide, and a space


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ages < 3", "no column 'ages'. Did you mean age"),
        ("age < '3'", "the column age holds numbers"),
        ("gender == 3", "the column gender holds texts"),
        ("gender < 'm'", "which < does not order: write == or !="),
        ("vip == 'true'", "holds true or false, such as 'true', which 'true' is not: write a value such as true"),
        ("vip == 1", "write a value such as true"),
        ("age in [1, 'a']", "mixes"),
    ],
)
def test_a_column_is_asked_for_what_it_holds(text, said):
    with pytest.raises(UserError, match=said):
        check(parse(text), COLUMNS)


def test_no_rows_hold_nothing_and_empty_columns_never():
    assert mask(parse("anything == 3"), []).shape == (0,)
    assert not mask(parse("age < 3 or not age < 3"), [{"age": ""}, {"age": " "}]).any()
    assert mask(parse("age < 3"), [{"age": "2"}, {}]).dtype == np.bool_
