"""What a condition says, as a tree of comparisons."""

from dataclasses import dataclass
from typing import TypeAlias

from style_match.spelling import plain

Value: TypeAlias = str | float | bool
OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}


@dataclass(frozen=True)
class Compare:
    """The column and a text are kept as `plain`."""

    column: str
    op: str
    value: Value

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", plain(self.column))
        object.__setattr__(self, "value", _plain_value(self.value))


@dataclass(frozen=True)
class In:
    """The column and the texts are kept as `plain`."""

    column: str
    values: tuple[Value, ...]
    negated: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "column", plain(self.column))
        object.__setattr__(self, "values", tuple(map(_plain_value, self.values)))


@dataclass(frozen=True)
class And:
    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class Or:
    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class Not:
    part: "Condition"


Condition: TypeAlias = Compare | In | And | Or | Not


def without_not(condition: Condition, *, negated: bool = False) -> Condition:
    """The same condition without `Not`, by De Morgan's laws; with `negated` its contrary.

    What an empty cell leaves unknown stays unknown so: a part that is to hold needs a cell that says so.
    """
    if isinstance(condition, Not):
        return without_not(condition.part, negated=not negated)
    if isinstance(condition, And | Or):
        kind = And if isinstance(condition, And) != negated else Or
        return kind(tuple(without_not(part, negated=negated) for part in condition.parts))
    if not negated:
        return condition
    if isinstance(condition, In):
        return In(condition.column, condition.values, not condition.negated)
    return Compare(condition.column, OPPOSITE[condition.op], condition.value)


def _plain_value(value: Value) -> Value:
    return plain(value) if isinstance(value, str) else value
