"""Conditions: what they select, in three-valued logic, and the messages for mistakes."""

import operator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.serving.where import mask, parse
from style_match.utils.errors import UserError

ROWS = [
    {"gender": "m", "age": "30", "vip": "true", "도시": "서울", "two words": "a", "class": "x"},
    {"gender": "f", "age": "", "vip": "False", "도시": "부산", "two words": "b", "class": "and"},
    {"gender": "m", "age": "41.5", "vip": "", "도시": "", "two words": 'it\'s "so" \\', "class": ""},
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("gender == 'm' and age < 35", [1, 0, 0]),
        ('gender == "m" AND (age >= 35 OR vip == true)', [1, 0, 1]),
        ("gender == 'f' or gender == 'm' and age > 35", [0, 1, 1]),
        ("not gender == 'm'", [0, 1, 0]),
        ("not (gender == 'm' and age < 35)", [0, 1, 1]),
        ("not age < 30", [1, 0, 1]),
        ("not age > 41.5", [1, 0, 1]),
        ("not age != 30", [1, 0, 0]),
        ("age not in [30, 41.50]", [0, 0, 0]),
        ("age in (3e1,)", [1, 0, 0]),
        ("age>-1\nand age < +35", [1, 0, 0]),
        ("vip == false or vip != FALSE", [1, 1, 0]),
        ("도시 in ['서울', '부산']", [1, 1, 0]),
        ("`two words` == 'it\\'s \"so\" \\\\'", [0, 0, 1]),
        ("class == 'and'", [0, 1, 0]),
        ("not not not gender == 'm'", [0, 1, 0]),
    ],
)
def test_rows_that_fulfil(text, expected):
    assert mask(parse(text), ROWS).tolist() == [bool(each) for each in expected]


OPS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
OPS |= {"in": lambda cell, values: cell in values, "not in": lambda cell, values: cell not in values}
numbers = st.sampled_from([18.0, 25.0, 30.0, -3.0])
trees = st.recursive(
    st.tuples(st.sampled_from([op for op in OPS if "in" not in op]), numbers)
    | st.tuples(st.sampled_from(["in", "not in"]), st.lists(numbers, min_size=1, max_size=3)),
    lambda below: st.tuples(st.just("not"), below) | st.tuples(st.sampled_from(["and", "or"]), below, below),
    max_leaves=6,
)


def written(tree) -> str:
    if tree[0] == "not":
        return f"not ({written(tree[1])})"
    if tree[0] in ("and", "or"):
        return f"({written(tree[1])}) {tree[0]} ({written(tree[2])})"
    return f"age {tree[0]} {tree[1]}"


def kleene(tree, cell: str) -> bool | None:
    """True, False, or None for unknown: the three-valued logic of databases."""
    op, *parts = tree
    if op == "not":
        value = kleene(parts[0], cell)
        return None if value is None else not value
    if op in ("and", "or"):
        values, decides = [kleene(part, cell) for part in parts], op == "or"
        return decides if decides in values else None if None in values else not decides
    return OPS[op](float(cell), parts[0]) if cell else None


@given(trees, st.lists(st.sampled_from(["", "18", "25", "30.0", "-3"]), min_size=2, max_size=6).filter(any))
def test_unknown_fulfils_neither_a_condition_nor_its_opposite(tree, cells):
    rows = [{"age": cell} for cell in cells]
    assert mask(parse(written(tree)), rows).tolist() == [kleene(tree, cell) is True for cell in cells]


@given(st.text(st.characters(exclude_characters="`"), min_size=1).filter(str.strip), st.text())
def test_any_column_and_any_text_can_be_written(column, text):
    quoted = "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    condition = parse(f"`{column}` == {quoted}")
    assert condition == type(condition)(column, "==", text)


@pytest.mark.parametrize(
    ("text", "message", "place"),
    [
        ("", "the condition is not complete", 1),
        ("age <", "the condition is not complete", 6),
        ("gender == and", "invalid syntax", 11),
        ("gender = 'm'", "= is not an operator of where; use ==", 8),
        ("age < 3 && gender == 'm'", "use and", 9),
        ("gender == m", "m is not a value; put texts in quotes: 'm'", 11),
        ("3 < age", "expected a column, found '3'", 1),
        ("1 < age < 3", "chained comparisons are not supported", 1),
        ("(age < 3", r"'\(' was never closed", 1),
        ("gender == 'm", "' is not closed", 11),
        ("gender == 'a\\b'", "a backslash must precede a quote", 13),
        ("age in []", "expected a list such as", 8),
        ("gender == 'a''b'", "expected a 'text', a number", 11),
        ("age < 3-1", "expected a 'text', a number", 7),
        ("`age`gender < 3", "expected a column", 1),
        ("__import__('os')", "expected a comparison", 1),
        ("age.__class__ == 3", r"\. is not allowed here", 4),
        ("age[0] == 3", r"expected a column, found 'age\[0\]'", 1),
        ("age < 3; drop", "; is not allowed here", 8),
        ("age < 35years", "3 is not allowed here", 7),
        ("age < 1e999", "1e999 is too large a number", 7),
    ],
)
def test_a_mistake_is_marked(text, message, place):
    with pytest.raises(UserError, match=message) as caught:
        parse(text)
    first, line, mark = str(caught.value).split("\n")
    assert first.endswith(f"(character {place})")
    assert line == f"  {text}" and mark.index("^") == place + 1


@pytest.mark.parametrize("text", ["(" * 300 + "age < 3", "not " * 10_000 + "age < 3", "a == 1 or " * 10_001 + "a == 1"])
def test_length_and_depth_are_bounded(text):
    with pytest.raises(UserError, match=r"nested|at most 100000"):
        parse(text)


def test_the_mark_counts_the_width_of_east_asian_characters():
    with pytest.raises(UserError) as caught:
        parse("도시 = 1")
    assert str(caught.value).split("\n")[2] == "       ^"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ages < 3", "no column 'ages'. Did you mean age"),
        ("age < '3'", "the column age holds numbers"),
        ("gender == 3", "the column gender holds texts, such as 'm', but 3 is none; use a value such as 'm'"),
        ("gender < 'm'", "which cannot be compared with <; use == or !="),
        ("vip == 'true'", "holds true or false, such as 'true', but 'true' is none; use a value such as true"),
        ("vip == 1", "use a value such as true"),
        ("age in [1, 'a']", "mixes numbers and texts"),
    ],
)
def test_columns_are_compared_with_values_of_their_kind(text, message):
    with pytest.raises(UserError, match=message):
        mask(parse(text), ROWS)


def test_without_rows_or_filled_cells_nothing_is_selected():
    assert mask(parse("anything == 3"), []).shape == (0,)
    assert not mask(parse("age < 3 or not age < 3"), [{"age": ""}, {"age": " "}]).any()
    assert mask(parse("age < 3"), [{"age": "2"}, {}]).dtype == np.bool_
