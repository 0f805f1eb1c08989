"""Which rows fulfil a condition.

An empty cell is unknown: it fulfils no comparison, nor the contrary of one.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from style_match.errors import UserError
from style_match.options import nearest
from style_match.spelling import other_case, shown
from style_match.where.condition import And, Compare, Condition, In, Not, Or, Value, without_not
from style_match.where.text import literal

KINDS = {"number": "numbers", "flag": "true or false", "text": "texts"}
FLAGS = {"true": True, "false": False}


def check(condition: Condition, columns: Mapping[str, Sequence[str]]) -> None:
    """Whether the columns (name -> its cells) can be asked so.

    Numbers are compared with a column whose cells that are not empty are all numbers, true and false with one that
    holds nothing else, texts with any other; only numbers have an order.

    Raises:
        UserError: an unknown column, with the nearest, or a value of another kind than the column's.
    """
    if isinstance(condition, Not):
        check(condition.part, columns)
    elif isinstance(condition, And | Or):
        for part in condition.parts:
            check(part, columns)
    else:
        if condition.column not in columns:
            meant = nearest(condition.column, list(columns))
            guess = f" Did you mean {meant}?" if meant else ""
            known = ", ".join(columns) or "none"
            raise UserError(f"where: there is no column {shown(condition.column)}.{guess} Columns: {known}.")
        _check_kind(condition, columns[condition.column])


def mask(condition: Condition, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    """(len(rows),) bool: which rows, column -> cell, fulfil the condition. A column that a row lacks is empty there.

    Raises:
        UserError: as `check`; a text that no cell has, where a cell differs from it only in upper and lower case.
    """
    if not rows:
        return np.zeros(0, dtype=bool)
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    check(condition, columns)
    plain_condition = without_not(condition)
    _refuse_other_case(plain_condition, columns)
    return _holds(plain_condition, columns)


def kind_of(cells: Sequence[str]) -> str:
    """number, flag or text: what a column holds; text where all cells are empty."""
    filled = {cell.strip() for cell in cells} - {""}
    if filled and all(_number(cell) is not None for cell in filled):
        return "number"
    return "flag" if filled and all(cell.lower() in FLAGS for cell in filled) else "text"


def _refuse_other_case(condition: Condition, columns: Mapping[str, Sequence[str]]) -> None:
    if isinstance(condition, And | Or):
        for part in condition.parts:
            _refuse_other_case(part, columns)
        return
    assert not isinstance(condition, Not)
    cells = dict.fromkeys(columns[condition.column])
    for value in condition.values if isinstance(condition, In) else (condition.value,):
        if isinstance(value, str) and value not in cells and (near := other_case(value, cells)) is not None:
            raise UserError(
                f"where: no cell of {condition.column} is {shown(value)}, but {shown(near)} is there: upper and lower "
                f"case count, so write {literal(near)}."
            )


def _holds(condition: Condition, columns: Mapping[str, Sequence[str]]) -> np.ndarray:
    if isinstance(condition, And | Or):
        over = np.logical_and if isinstance(condition, And) else np.logical_or
        return over.reduce([_holds(part, columns) for part in condition.parts])
    assert not isinstance(condition, Not)
    first = condition.value if isinstance(condition, Compare) else condition.values[0]
    cells = [_cell(cell, first) for cell in columns[condition.column]]
    if isinstance(condition, In):
        held = [cell is not None and (cell in condition.values) != condition.negated for cell in cells]
    else:
        held = [cell is not None and _compare(cell, condition.op, condition.value) for cell in cells]
    return np.array(held, dtype=bool)


def _cell(cell: str, like: Value) -> Value | None:
    """A cell as what it is compared with; None where it is empty."""
    text = cell.strip()
    if not text:
        return None
    return FLAGS[text.lower()] if isinstance(like, bool) else _number(text) if isinstance(like, float) else text


def _compare(cell: Value, op: str, value: Value) -> bool:
    if op in ("==", "!="):
        return (cell == value) == (op == "==")
    assert isinstance(cell, float) and isinstance(value, float)
    return {"<": cell < value, "<=": cell <= value, ">": cell > value, ">=": cell >= value}[op]


def _check_kind(condition: Compare | In, cells: Sequence[str]) -> None:
    values = condition.values if isinstance(condition, In) else (condition.value,)
    kind, asked = kind_of(cells), {_kind_of_value(value) for value in values}
    name = condition.column
    if len(asked) > 1:
        mixed = " and ".join(sorted(KINDS[each] for each in asked))
        raise UserError(f"where: the list for {name} mixes {mixed}; write values of one kind.")
    if not any(cell.strip() for cell in cells):
        return
    if asked != {kind}:
        example = next(cell.strip() for cell in cells if cell.strip() and (kind != "text" or _number(cell) is None))
        value = literal(values[0])
        fitting = {"number": example, "flag": "true", "text": f"'{example}'"}[kind]
        raise UserError(
            f"where: the column {name} holds {KINDS[kind]}, such as {shown(example)}, which {value} is not: write a "
            f"value such as {fitting}."
        )
    if isinstance(condition, Compare) and kind != "number" and condition.op not in ("==", "!="):
        raise UserError(
            f"where: the column {name} holds {KINDS[kind]}, which {condition.op} does not order: write == or !=."
        )


def _kind_of_value(value: Value) -> str:
    return "flag" if isinstance(value, bool) else "number" if isinstance(value, float) else "text"


def _number(text: str) -> float | None:
    try:
        number = float(text.strip())
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None
