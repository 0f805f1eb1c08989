"""`not` before a comparison, at its edge."""

import operator

import pytest

from style_match.serving.where import mask, parse

OPS = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}
CELLS = ["", "29", "30", "31"]


@pytest.mark.parametrize("op", OPS)
def test_not_is_the_contrary_also_at_the_edge_and_an_empty_cell_is_neither(op):
    rows = [{"age": cell} for cell in CELLS]
    holds = [bool(cell) and OPS[op](float(cell), 30) for cell in CELLS]
    contrary = [bool(cell) and not OPS[op](float(cell), 30) for cell in CELLS]
    assert mask(parse(f"age {op} 30"), rows).tolist() == holds
    assert mask(parse(f"not age {op} 30"), rows).tolist() == contrary
    assert mask(parse(f"not not age {op} 30"), rows).tolist() == holds
