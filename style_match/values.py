"""Kinds of values that an option may have, each with the words that ask for it."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

LARGEST = 10**9  # default upper bound of numbers


@dataclass(frozen=True)
class Rule:
    """`wanted` completes "write ..."; `words` are those that may be written, where there are only some.

    `largest`: the greatest number that holds, which `wanted` does not name.
    """

    wanted: str
    holds: Callable[[Any], bool]
    words: tuple[str, ...] = ()
    largest: float | None = None

    def or_null(self) -> "Rule":
        holds = lambda value: value is None or self.holds(value)  # noqa: E731
        return Rule(f"{self.wanted}, or null", holds, self.words, self.largest)

    def wanted_for(self, value: Any) -> str:
        """`wanted`, with `largest` where the value is above it."""
        above = self.largest is not None and is_number(value) and abs(value) > self.largest
        return f"{self.wanted} (at most {self.largest:,})" if above else self.wanted


def is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return isinstance(value, int) or math.isfinite(value)  # an int may be too large for a float


def whole(least: int | None = None, most: int | None = None, *, largest: int = LARGEST) -> Rule:
    """A whole number; `largest` bounds it where `most` is None, and is named only to those who exceed it."""
    bounds = [f"at least {least}" if least is not None else "", f"at most {most}" if most is not None else ""]
    wanted = "a whole number" + (" of " + " and ".join(filter(None, bounds)) if any(bounds) else "")
    return Rule(
        wanted,
        lambda value: (
            isinstance(value, int)
            and not isinstance(value, bool)
            and (least is None or value >= least)
            and (value <= most if most is not None else abs(value) <= largest)
        ),
        largest=largest if most is None else None,
    )


def number(
    *, above: float | None = None, least: float | None = None, below: float | None = None, most: float | None = None
) -> Rule:
    bounds = ((above, "above"), (least, "of at least"), (below, "below"), (most, "of at most"))
    wanted = " and ".join(f"{word} {bound:g}" for bound, word in bounds if bound is not None)
    return Rule(
        f"a number {wanted}".rstrip(),
        lambda value: (
            is_number(value)
            and (above is None or value > above)
            and (least is None or value >= least)
            and (below is None or value < below)
            and (most is None or value <= most)
            and abs(value) <= LARGEST
        ),
        largest=LARGEST,
    )


def word(*words: str) -> Rule:
    return Rule(" or ".join(words), lambda value: value in words, words)


FLAG = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("a text", lambda value: not isinstance(value, list | dict | bool | None))
LIST = Rule("a list, such as [1,5]", lambda value: isinstance(value, list))
ANYTHING = Rule("anything", lambda value: True)
SHARE = number(least=0, most=1)
SEED = whole(0, 2**32 - 1)
KS = Rule(
    "a list of different whole numbers of at least 1, such as [1,5,10]",
    lambda ks: isinstance(ks, list) and bool(ks) and all(whole(1).holds(k) for k in ks) and len(set(ks)) == len(ks),
)
FRACTIONS = Rule(
    "three numbers above 0 (train, val, test) that sum to 1, such as [0.7,0.15,0.15]",
    lambda parts: (
        isinstance(parts, list)
        and len(parts) == 3
        and all(number(above=0).holds(part) for part in parts)
        and math.isclose(sum(parts), 1, abs_tol=1e-6)
    ),
)
DEVICE = Rule(
    "auto, cpu, cuda, cuda:N or mps", lambda value: bool(re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", str(value)))
)
NAMES = Rule(
    "a list of different names, such as [Street,Chic]",
    lambda names: isinstance(names, list) and all(map(TEXT.holds, names)) and len(set(map(str, names))) == len(names),
)
LEFT_OUT = ("unfinished", "failed", "foreign", "lacking")
POOLINGS = ("mean", "eos", "mean_text", "mean_image")  # those that the feature store always holds
PARTS = Rule(
    f"a list of different ones of {', '.join(POOLINGS)}, such as [mean,eos]",
    lambda parts: isinstance(parts, list) and 0 < len(parts) == len({*parts} & {*POOLINGS}),
)
BANDS = Rule(
    "a list of rising numbers, such as [18,25,35]",
    lambda bands: (
        isinstance(bands, list)
        and bool(bands)
        and all(map(is_number, bands))
        and all(low < high for low, high in pairwise(bands))
    ),
).or_null()
