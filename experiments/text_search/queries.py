"""Short requests for drawn figures, and the figures that each request is true of."""

from collections.abc import Sequence

import numpy as np

from style_match.synthetic import captions
from style_match.synthetic.captions import Description
from style_match.synthetic.world import Look

ASKERS = ("_look", "_clothes", "_clothes_and_accessory", "_scene", "_accessory", "_look_and_clothes", "_hair")


class Choices:
    """A random generator that follows a given path of choices and records it."""

    def __init__(self, path: Sequence[int]):
        self.path, self.taken = path, list[tuple[int, int]]()

    def integers(self, num: int) -> int:
        place = len(self.taken)
        self.taken.append((self.path[place] if place < len(self.path) else 0, num))
        return self.taken[-1][0]


def all_requests(look: Look, language: str) -> set[str]:
    """Return every request, without its opening, that `style_match.synthetic.captions` can make about a look."""
    found, say = set(), Description(look, language)
    for asker in (getattr(captions, name) for name in ASKERS):
        path: list[int] | None = []
        while path is not None:
            choices = Choices(path)
            found.add(asker(say, choices))
            taken = choices.taken
            while taken and taken[-1][0] + 1 == taken[-1][1]:
                taken.pop()
            path = [choice for choice, _ in taken[:-1]] + [taken[-1][0] + 1] if taken else None
    return found


def requests(looks: Sequence[Look], language: str, seed: int) -> tuple[list[str], list[list[bool]]]:
    """Return a request about each look, and for each request whether it is true of each look."""
    rng = np.random.default_rng((seed, language == "ko"))
    possible = [all_requests(look, language) for look in looks]
    asked = [captions.query(look, rng, language) for look in looks]
    return asked, [[_bare(text, language) in true for true in possible] for text in asked]


def _bare(text: str, language: str) -> str:
    """Return a request without "find me" or "찾아줘"."""
    for polite in captions.ENGLISH_OPENINGS if language == "en" else captions.KOREAN_ENDINGS:
        if polite and (text.startswith(polite) if language == "en" else text.endswith(polite)):
            return text.removeprefix(polite) if language == "en" else text.removesuffix(polite)
    return text
