"""Conditions on the columns of profiles, such as `gender == 'm' and age < 35`: parsed, never run as code."""

from style_match.where.condition import And, Compare, Condition, In, Not, Or, Value, without_not
from style_match.where.rows import check, kind_of, mask
from style_match.where.text import parse, written

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
