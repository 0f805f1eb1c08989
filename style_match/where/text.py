"""A condition as a text, and back.

    condition := both ("or" both)*       both := part ("and" part)*
    part      := "not" part | "(" condition ")" | column op value | column ["not"] "in" "[" value ("," value)* "]"
    op        := == != < <= > >=         value := 'text' | "text" | number | true | false

A column is a word in any script, or anything between backquotes. In a text a backslash stands before a quote or
another backslash. Keywords are written in small or in capital letters. Columns and texts are compared as
`style_match.spelling.plain`.
"""

import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from style_match.errors import UserError
from style_match.spelling import plain
from style_match.where.condition import And, Compare, Condition, In, Not, Or, Value

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
