"""A condition of `style_match.where` as a filter of Qdrant, and the payload that it asks.

A cell stands in the payload under each kind that it can be read as: `text` always, `number` and `flag` where it is one.
So numbers are compared as numbers, and an empty cell, which stands nowhere, fulfils nothing. Column names are escaped:
Qdrant's paths know letters, digits, - and _ only.
"""

import re
from collections.abc import Mapping
from typing import Any

from qdrant_client import models

from style_match.where import And, Condition, In, Not, Or, Value, kind_of

SCHEMAS = {"text": "keyword", "number": "float", "flag": "bool"}  # kind -> how a server indexes it
ESCAPED = re.compile(r"_([0-9a-f]{2})")


def payload_of(cells: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """kind -> escaped column -> value, of the cells that are not empty."""
    filled = {escaped(name): cell.strip() for name, cell in cells.items() if cell and cell.strip()}
    kinds = {name: kind_of([cell]) for name, cell in filled.items()}
    return {
        "text": filled,
        "number": {name: float(cell) for name, cell in filled.items() if kinds[name] == "number"},
        "flag": {name: cell.lower() == "true" for name, cell in filled.items() if kinds[name] == "flag"},
    }


def translated(condition: Condition) -> models.Filter:
    """The filter of a condition that holds no `Not` (`where.without_not`)."""
    assert not isinstance(condition, Not)
    if isinstance(condition, And):
        return models.Filter(must=[translated(part) for part in condition.parts])
    if isinstance(condition, Or):
        return models.Filter(should=[translated(part) for part in condition.parts])
    if isinstance(condition, In):
        values, negated = condition.values, condition.negated
    elif condition.op in ("==", "!="):
        values, negated = (condition.value,), condition.op == "!="
    else:
        bound = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}[condition.op]
        key = key_of(condition.column, condition.value)
        bounds = models.Range.model_validate({bound: condition.value})
        return models.Filter(must=[models.FieldCondition(key=key, range=bounds)])
    key = key_of(condition.column, values[0])
    equal: list[Any] = [_equal(key, value) for value in values]
    if negated:
        return models.Filter(must_not=[_empty(key), *equal])
    return models.Filter(should=equal)


def key_of(column: str, like: Value) -> str:
    """Where the payload holds the column's cells of a value's kind."""
    kind = "flag" if isinstance(like, bool) else "number" if isinstance(like, float) else "text"
    return f"{kind}.{escaped(column)}"


def lacking(column: str, kind: str) -> models.Filter:
    """Cells that are not empty and not of a kind."""
    name = escaped(column)
    return models.Filter(must=[_empty(f"{kind}.{name}")], must_not=[_empty(f"text.{name}")])


def _empty(key: str) -> models.IsEmptyCondition:
    return models.IsEmptyCondition(is_empty=models.PayloadField(key=key))


def escaped(column: str) -> str:
    return "".join(
        sign if sign.isascii() and sign.isalnum() else "".join(f"_{byte:02x}" for byte in sign.encode())
        for sign in column
    )


def unescaped(name: str) -> str:
    raw = ESCAPED.sub(lambda found: chr(int(found[1], 16)), name)
    return raw.encode("latin-1").decode()


def _equal(key: str, value: Value) -> models.FieldCondition:
    if isinstance(value, float) and not isinstance(value, bool):
        return models.FieldCondition(key=key, range=models.Range(gte=value, lte=value))
    return models.FieldCondition(key=key, match=models.MatchValue(value=value))
