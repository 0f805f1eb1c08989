"""Filters on the columns of profiles, such as `gender == 'm' and age < 35`. They are parsed with `ast`, not executed.

The grammar is that of Python: comparisons of a column with a value, `in` and `not in` with a list, `and`, `or`, `not`,
parentheses. Values are 'texts', numbers, true and false. A column is a word in any script, or any text between
backquotes. Columns and texts are compared in the form of `style_match.utils.text.plain`. An empty cell is unknown: it
satisfies neither a comparison nor its opposite.
"""

import ast
import math
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import numpy as np

from style_match.cli.words import nearest
from style_match.utils.errors import UserError
from style_match.utils.text import other_case, plain, shown

Value: TypeAlias = str | float | bool
Columns: TypeAlias = Mapping[str, Sequence[str]]
MAX_CHARACTERS = 100_000
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
OPPOSITE = {"==": "!=", "!=": "==", "<": ">=", ">=": "<", ">": "<=", "<=": ">", "in": "not in", "not in": "in"}
KINDS = {"number": "numbers", "flag": "true or false", "text": "texts"}
FLAGS = {"true": True, "false": False}


@dataclass(frozen=True)
class Compare:
    """A comparison of a column with a value, or with a tuple of values for `in` and `not in`."""

    column: str
    op: str
    value: Value | tuple[Value, ...]

    def __post_init__(self) -> None:
        values = tuple(plain(value) if isinstance(value, str) else value for value in self.values)
        object.__setattr__(self, "column", plain(self.column))
        object.__setattr__(self, "value", values if isinstance(self.value, tuple) else values[0])

    @property
    def values(self) -> tuple[Value, ...]:
        return self.value if isinstance(self.value, tuple) else (self.value,)


@dataclass(frozen=True)
class And:
    """All of these conditions."""

    parts: tuple["Condition", ...]


@dataclass(frozen=True)
class Or:
    """Any of these conditions."""

    parts: tuple["Condition", ...]


Condition: TypeAlias = Compare | And | Or


def comparisons(condition: Condition) -> Iterator[Compare]:
    """Yield all comparisons of a condition."""
    if isinstance(condition, Compare):
        yield condition
    else:
        for part in condition.parts:
            yield from comparisons(part)


# Parsing

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
    |(?P<number>[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?!\w))
    |(?P<flag>(?i:true|false)\b)
    |(?P<keyword>(?:and|AND|or|OR|not|NOT|in|IN)\b)
    |(?P<column>`[^`]+`|[^\W\d]\w*)
    |(?P<symbol>==|!=|<=|>=|[<>](?!>)|[()\[\],])
    |(?P<foreign>&&|\|\||<>|[=&|!])""",
    re.VERBOSE | re.DOTALL,
)
_FOREIGN = {"=": "==", "&&": "and", "&": "and", "||": "or", "|": "or", "!": "not", "<>": "!="}
_OPS: dict[type[ast.cmpop], str] = {ast.Eq: "==", ast.NotEq: "!=", ast.In: "in", ast.NotIn: "not in"}
_OPS |= {ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">="}


def parse(text: str) -> Condition:
    """Parse a condition. Each `not` is moved into the comparisons.

    Raises:
        UserError: The text is not a condition; the message marks the position.
    """
    return _Parser(plain(text)).parse()  # a word with a combining accent is one word only when composed


class _Parser:
    """Parses a copy of the text with `ast`, in which every column and value is replaced by a name of the same length.

    So positions in the tree are positions in the text, and no column can be a keyword of Python.

    Attributes:
        names: Position -> kind of token and the token.
    """

    def __init__(self, text: str):
        self.text = text
        self.names: dict[int, tuple[str, str]] = {}

    def parse(self) -> Condition:
        if len(self.text) > MAX_CHARACTERS:
            raise UserError(f"where has {len(self.text)} characters; at most {MAX_CHARACTERS} are allowed.")
        try:
            return self._condition(ast.parse(self._structure(), mode="eval").body)
        except SyntaxError as error:
            if not error.offset or error.offset > len(self.text):
                self._refuse(len(self.text), "the condition is not complete")
            self._refuse(error.offset - 1, error.msg.partition(". ")[0])
        except (RecursionError, MemoryError):
            raise UserError("where: the condition is nested too deeply.") from None

    def _structure(self) -> str:
        pieces, place = [], 0
        while place < len(self.text):
            token = _TOKEN.match(self.text, place)
            if token is None:
                problem = "is not closed" if self.text[place] in "'\"`" else "is not allowed here"
                self._refuse(place, f"{self.text[place]} {problem}")
            kind, source = str(token.lastgroup), token[0]
            if kind == "foreign":
                self._refuse(place, f"{source} is not an operator of where; use {_FOREIGN[source]}")
            if kind in ("keyword", "symbol"):
                pieces.append(source.lower())
            else:
                pieces.append((" " if kind == "space" else "x") * len(source))
                self.names[place] = kind, source
            place = token.end()
        return "".join(pieces)

    def _condition(self, node: ast.expr, *, negated: bool = False) -> Condition:
        if isinstance(node, ast.UnaryOp):  # not
            return self._condition(node.operand, negated=not negated)
        if isinstance(node, ast.BoolOp):  # De Morgan's laws hold in three-valued logic too
            kind = And if isinstance(node.op, ast.And) != negated else Or
            return kind(tuple(self._condition(part, negated=negated) for part in node.values))
        if not isinstance(node, ast.Compare):
            self._refuse(node.col_offset, f"expected a comparison, found {self._token(node)[1]!r}")
        if len(node.ops) > 1:
            self._refuse(node.col_offset, "chained comparisons are not supported; join two comparisons with and")
        op, operand = _OPS[type(node.ops[0])], node.comparators[0]
        token, column = self._token(node.left)
        if token != "column":
            self._refuse(node.left.col_offset, f"expected a column, found {column!r}")
        value = self._list(operand) if op in ("in", "not in") else self._value(operand)
        return Compare(column.strip("`"), OPPOSITE[op] if negated else op, value)

    def _token(self, node: ast.expr) -> tuple[str, str]:
        """Return kind and source; the kind is empty if the node has more than one token."""
        kind, source = self.names.get(node.col_offset, ("", ""))
        found = self.text[node.col_offset : node.end_col_offset]
        return (kind if found == source else "", found)  # adjacent tokens make one name

    def _list(self, node: ast.expr) -> tuple[Value, ...]:
        if not isinstance(node, ast.List | ast.Tuple) or not node.elts:
            self._refuse(node.col_offset, "expected a list such as ['a', 'b']")
        return tuple(map(self._value, node.elts))

    def _value(self, node: ast.expr) -> Value:
        kind, source = self._token(node)
        if kind == "flag":
            return FLAGS[source.lower()]
        if kind == "number":
            if not math.isfinite(float(source)):
                self._refuse(node.col_offset, f"{source} is too large a number")
            return float(source)
        if kind == "text":
            if wrong := re.search(r"\\[^\\'\"]", re.sub(r"\\[\\'\"]", "  ", source)):
                place = node.col_offset + wrong.start()
                self._refuse(place, "a backslash must precede a quote or a backslash; write it twice")
            return re.sub(r"\\(.)", r"\1", source[1:-1], flags=re.DOTALL)
        if kind == "column":
            self._refuse(node.col_offset, f"{source} is not a value; put texts in quotes: '{source.strip('`')}'")
        self._refuse(node.col_offset, f"expected a 'text', a number, true or false, found {source!r}")

    def _refuse(self, place: int, problem: str) -> NoReturn:
        """Raise an error that shows the text with a mark below the place."""
        line = " ".join(self.text.split("\n"))
        width = sum(2 if unicodedata.east_asian_width(sign) in "WF" else 1 for sign in line[:place])
        raise UserError(f"where: {problem} (character {place + 1})\n  {line}\n  {' ' * width}^")


# Evaluation


def as_columns(rows: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Turn rows (column -> cell) into columns (name -> N cells); a column that a row lacks is empty there."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) or "" for row in rows] for name in names}


def mask(condition: Condition, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    """Evaluate a condition on rows (N,) column -> cell, see `matches`."""
    return matches(condition, as_columns(rows)) if rows else np.zeros(0, dtype=bool)


def matches(condition: Condition, columns: Columns) -> np.ndarray:
    """Evaluate a condition.

    Numbers are compared with a column whose filled cells are all numbers, true and false with a column that holds only
    these, texts with any other column. Only numbers are ordered.

    Args:
        condition: From `parse`.
        columns: Name -> (N,) cells.

    Returns:
        (N,) bool.

    Raises:
        UserError: A column does not exist (the message names the nearest one) or has another kind; or no cell has a
            text, but one differs from it only in upper and lower case.
    """
    for each in comparisons(condition):
        if each.column not in columns:
            meant = nearest(each.column, list(columns))
            guess = f" Did you mean {meant}?" if meant else ""
            known = ", ".join(columns) or "none"
            raise UserError(f"where: there is no column {shown(each.column)}.{guess} Columns: {known}.")
        _check_kind(each, columns[each.column])
        cells = dict.fromkeys(columns[each.column])
        for value in each.values:
            if isinstance(value, str) and value not in cells and (near := other_case(value, cells)) is not None:
                raise UserError(
                    f"where: no cell of {each.column} is {shown(value)}, but {shown(near)} is there. Upper and "
                    f"lower case differ; write {_literal(near)}."
                )
    return _evaluate(condition, columns)


def _evaluate(condition: Condition, columns: Columns) -> np.ndarray:
    if isinstance(condition, Compare):
        cells = columns[condition.column]
        holds = {cell: _holds(condition, cell) for cell in set(cells)}
        return np.array([holds[cell] for cell in cells], dtype=bool)
    combine = np.logical_and if isinstance(condition, And) else np.logical_or
    return combine.reduce([_evaluate(part, columns) for part in condition.parts])


def _holds(condition: Compare, cell: str) -> bool:
    text = cell.strip()
    if not text:  # unknown
        return False
    kind = kind_of_value(condition.values[0])
    value = FLAGS[text.lower()] if kind == "flag" else _number(text) if kind == "number" else text
    if condition.op in ("in", "not in"):
        return (value in condition.values) == (condition.op == "in")
    return OPERATORS[condition.op](value, condition.value)


def kind_of(cells: Iterable[str]) -> str:
    """Return the kind of a column: number, flag or text; text if all cells are empty."""
    filled = {cell.strip() for cell in cells} - {""}
    if filled and all(_number(cell) is not None for cell in filled):
        return "number"
    return "flag" if filled and all(cell.lower() in FLAGS for cell in filled) else "text"


def _check_kind(condition: Compare, cells: Sequence[str]) -> None:
    name, kind = condition.column, kind_of(cells)
    kinds = {kind_of_value(value) for value in condition.values}
    if len(kinds) > 1:
        mixed = " and ".join(sorted(KINDS[each] for each in kinds))
        raise UserError(f"where: the list for {name} mixes {mixed}; use values of one kind.")
    filled = [cell.strip() for cell in cells if cell.strip()]
    if not filled:
        return
    example = next(cell for cell in filled if kind != "text" or _number(cell) is None)
    holds = f"where: the column {name} holds {KINDS[kind]}"
    if kinds != {kind}:
        fitting = {"number": example, "flag": "true", "text": f"'{example}'"}[kind]
        value = _literal(condition.values[0])
        raise UserError(f"{holds}, such as {shown(example)}, but {value} is none; use a value such as {fitting}.")
    if kind != "number" and condition.op in ("<", "<=", ">", ">="):
        raise UserError(f"{holds}, which cannot be compared with {condition.op}; use == or !=.")


def kind_of_value(value: Value) -> str:
    return "flag" if isinstance(value, bool) else "number" if isinstance(value, float) else "text"


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value).removesuffix(".0")


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None
