"""Conditions on the columns of profiles, such as `gender == 'm' and age < 35`: parsed, never run as code."""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import numpy as np

from style_match.cli.words import nearest
from style_match.utils.errors import UserError
from style_match.utils.text import other_case, plain, shown

# What a condition says, as a tree of comparisons.


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


# A condition as a text, and back.
#
# condition := both ("or" both)* both := part ("and" part)* part := "not" part | "(" condition ")" | column op value |
# column ["not"] "in" "[" value ("," value)* "]" op := == != < <= > >= value := 'text' | "text" | number | true |
# false
#
# A column is a word in any script, or anything between backquotes. In a text a backslash stands before a quote or
# another backslash. Keywords are written in small or in capital letters. Columns and texts are compared as
# `style_match.utils.text.plain`.


MAX_DEPTH = 50  # of parentheses and nots
OPS = ("==", "!=", "<=", ">=", "<", ">")
KEYWORDS = ("and", "or", "not", "in", "true", "false")
MEANT = {"=": "==", "&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "<>": "!="}
_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<column>`[^`]+`)
    |(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?!\w))
    |(?P<word>[^\W\d]\w*)
    |(?P<op>==|!=|<=|>=|<>|&&|\|\||[<>=&|!])
    |(?P<sign>[()\[\],])""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True)
class Token:
    """`kind` is text, column, number, keyword, op, sign or end; `place` counts from 0."""

    kind: str
    text: str
    place: int


def parse(text: str) -> Condition:
    """The condition that a text states.

    Raises:
        UserError: it states none; points at the place.
    """
    return _Parser(text).condition_alone()


def written(condition: Condition) -> str:
    """A text that `parse` reads back as the same condition."""
    if isinstance(condition, Compare):
        return f"{_column(condition.column)} {condition.op} {literal(condition.value)}"
    if isinstance(condition, In):
        values = ", ".join(map(literal, condition.values))
        return f"{_column(condition.column)} {'not in' if condition.negated else 'in'} [{values}]"
    if isinstance(condition, Not):
        return f"not {_bracketed(condition.part)}"
    return (" and " if isinstance(condition, And) else " or ").join(map(_bracketed, condition.parts))


def literal(value: Value) -> str:
    """A value as it is written in a condition."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _bracketed(condition: Condition) -> str:
    text = written(condition)
    return f"({text})" if isinstance(condition, And | Or) else text


def _column(name: str) -> str:
    return name if re.fullmatch(r"[^\W\d]\w*", name) and name.lower() not in KEYWORDS else f"`{name}`"


class _Parser:
    def __init__(self, text: str):
        self.text = plain(text)  # at once: in a word, a combining accent is no letter
        self.tokens = self._tokens()
        self.next = 0
        self.depth = 0

    def condition_alone(self) -> Condition:
        found = self._condition()
        if self.tokens[self.next].kind != "end":
            self._expected("and, or, or the end")
        return found

    def _condition(self) -> Condition:
        return self._joined("or", Or, lambda: self._joined("and", And, self._part))

    def _joined(
        self, word: str, kind: Callable[[tuple[Condition, ...]], Condition], part: Callable[[], Condition]
    ) -> Condition:
        parts = [part()]
        while self._take("keyword", word):
            parts.append(part())
        return kind(tuple(parts)) if len(parts) > 1 else parts[0]

    def _part(self) -> Condition:
        place = self.tokens[self.next].place
        is_not = self._take("keyword", "not")
        if not is_not and not self._take("sign", "("):
            return self._simple()
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self._refuse(place, f"there are more than {MAX_DEPTH} parentheses and nots within each other")
        found: Condition
        if is_not:
            found = Not(self._part())
        else:
            found = self._condition()
            if not self._take("sign", ")"):
                self._expected("and, or, or )")
        self.depth -= 1
        return found

    def _simple(self) -> Condition:
        token = self.tokens[self.next]
        if token.kind != "column":
            self._expected("a column")
        self.next += 1
        negated = self._take("keyword", "not")
        if self._take("keyword", "in"):
            return In(token.text, self._list(), negated)
        op = self.tokens[self.next]
        if negated or op.kind != "op" or op.text not in OPS:
            if not negated and op.text in MEANT:
                self._refuse(op.place, f"{op.text} is no comparison; write {MEANT[op.text]}")
            self._expected("in" if negated else f"{' '.join(OPS)}, in or not in")
        self.next += 1
        return Compare(token.text, op.text, self._value())

    def _list(self) -> tuple[Value, ...]:
        if not self._take("sign", "["):
            self._expected("a list such as ['a', 'b']")
        values = [self._value()]
        while self._take("sign", ","):
            values.append(self._value())
        if not self._take("sign", "]"):
            self._expected(", or ]")
        return tuple(values)

    def _value(self) -> Value:
        token = self.tokens[self.next]
        if token.kind == "column":
            self._refuse(token.place, f"{token.text} is no value; write a text in quotes: '{token.text}'")
        if token.kind == "keyword" and token.text in ("true", "false"):
            self.next += 1
            return token.text == "true"
        if token.kind not in ("text", "number"):
            self._expected("a 'text', a number, true or false")
        self.next += 1
        if token.kind == "text":
            return token.text
        number = float(token.text)
        if not math.isfinite(number):
            self._refuse(token.place, f"{token.text} is too large a number")
        return number

    def _take(self, kind: str, text: str) -> bool:
        token = self.tokens[self.next]
        found = (token.kind, token.text) == (kind, text)
        self.next += found
        return found

    def _tokens(self) -> list[Token]:
        found, place = [], 0
        while place < len(self.text):
            match = _TOKEN.match(self.text, place)
            if match is None:
                sign = self.text[place]
                what = "is not closed" if sign in "'\"`" else "does not belong here"
                self._refuse(place, f"{sign} {what}")
            kind, word = str(match.lastgroup), match[0]
            if kind == "word":
                is_keyword = word.lower() in KEYWORDS and word in (word.lower(), word.upper())
                found.append(Token("keyword", word.lower(), place) if is_keyword else Token("column", word, place))
            elif kind == "text":
                found.append(Token("text", self._unquoted(word, place), place))
            elif kind != "space":
                found.append(Token(kind, word.strip("`"), place))
            place = match.end()
        return [*found, Token("end", "the end", len(self.text))]

    def _unquoted(self, word: str, place: int) -> str:
        if wrong := re.search(r"\\[^\\'\"]", re.sub(r"\\[\\'\"]", "  ", word)):
            self._refuse(place + wrong.start(), "a backslash stands before a quote or a backslash; write it twice")
        return re.sub(r"\\(.)", r"\1", word[1:-1], flags=re.DOTALL)

    def _expected(self, what: str) -> NoReturn:
        token = self.tokens[self.next]
        found = "the text ends" if token.kind == "end" else f"{self.text[token.place :].split()[0]!r} stands"
        hint = f"; write {MEANT[token.text]}" if token.kind == "op" and token.text in MEANT else ""
        self._refuse(token.place, f"expected {what}, but here {found}{hint}")

    def _refuse(self, place: int, what: str) -> NoReturn:
        """Raise with the text and a mark below the place."""
        line = " ".join(self.text.split("\n"))
        wide = sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in line[:place])
        raise UserError(f"where: {what} (character {place + 1})\n  {line}\n  {' ' * wide}^")


# Which rows fulfil a condition.
#
# An empty cell is unknown: it fulfils no comparison, nor the contrary of one.


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


__all__ = [
    "And",
    "Compare",
    "Condition",
    "In",
    "Not",
    "Or",
    "Value",
    "check",
    "kind_of",
    "mask",
    "parse",
    "without_not",
    "written",
]
