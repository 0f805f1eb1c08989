"""Items to folds: test parts as equal as the groups allow, and a validation part for each fold."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from style_match.data.allocation import draw

_TRIES, _FEW_GROUPS = 20, 200
Words = list[str]  # an item's split in fold 0, in fold 1, ...


def draw_places(
    placed: Mapping[str, Words],
    connected: Sequence[Sequence[str]],
    *,
    labels: Mapping[str, str],
    folds: int,
    share: Fraction,
    seed: int,
) -> dict[str, Words]:
    """Places for the items of `connected`, which have none yet, a group together.

    Args:
        labels: the class of an item, where it has one.
        share: of val among what is not test.
    """
    tests = {item: words.index("test") for item, words in placed.items()}
    fold_of = draw_folds(tests, connected, labels=labels, folds=folds, seed=seed)
    place_of = {item: ["test"] * folds for item in fold_of}
    for fold in range(folds):
        is_val = {item: int(words[fold] == "val") for item, words in placed.items() if words[fold] != "test"}
        outside = [group for group in connected if fold_of[group[0]] != fold]
        total = len(is_val) + sum(map(len, outside))
        drawn = draw(
            is_val,
            outside,
            labels=labels,
            shares=(1 - share, share, Fraction(0)),
            counts=(total - int(share * total), int(share * total), 0),
            seed=f"{seed}, val of fold {fold} of {folds}",
        )
        for item, j in drawn.items():
            place_of[item][fold] = "val" if j else "train"
    return place_of


def draw_folds(
    placed: Mapping[str, int], connected: Sequence[Sequence[str]], *, labels: Mapping[str, str], folds: int, seed: int
) -> dict[str, int]:
    """Item -> the fold whose test part it is in, for the items of `connected`.

    Sizes are as equal as the sizes of groups allow; of few and large groups, as several draws find them.
    """
    large, waiting = _place_large(placed, connected, folds)
    settled = {**placed, **large}
    have = Counter(settled.values())
    best = _spread(even([have[fold] for fold in range(folds)], sum(map(len, waiting))))
    tries = _TRIES if len(waiting) <= _FEW_GROUPS else 1  # many groups are equal at once, or cannot be
    found: dict[str, int] = {}
    least = 0
    for number in range(tries):
        drawn = _part_off(settled, waiting, labels, folds, f"{seed}, try {number}")
        spread = _spread((have + Counter(drawn.values())).values())
        if number == 0 or spread < least:
            found, least = drawn, spread
        if least == best:
            break
    return large | found


def _spread(sizes: Iterable[int]) -> int:
    """The sum of squares: of sizes with one sum, the most equal ones have the least."""
    return sum(size * size for size in sizes)


def _part_off(
    settled: Mapping[str, int], waiting: Sequence[Sequence[str]], labels: Mapping[str, str], folds: int, seed: str
) -> dict[str, int]:
    """The last two of the folds are drawn from all that is there, the two before them from the rest, and so on, so
    that each draw is one into three parts like that of train, val and test."""
    fold_of: dict[str, int] = {}
    have = Counter(settled.values())
    left = list(range(folds))
    while len(left) > 1:
        cut = max(len(left) - 2, 1)
        sides = [left[:cut], left[cut : cut + 1], left[cut + 1 :]]
        side_of = {fold: j for j, side in enumerate(sides) for fold in side}
        sizes = dict(zip(left, even([have[fold] for fold in left], sum(map(len, waiting))), strict=True))
        drawn = draw(
            {item: side_of[fold] for item, fold in settled.items() if fold in side_of},
            waiting,
            labels=labels,
            shares=[Fraction(len(side), len(left)) for side in sides],
            counts=[sum(sizes[fold] for fold in side) for side in sides],
            seed=f"{seed}, fold {left[-1]} of {folds}",
        )
        fold_of |= {item: sides[j][0] for item, j in drawn.items()}
        waiting = [group for group in waiting if drawn[group[0]] == 0]
        left = sides[0]
    return fold_of


def _place_large(
    placed: Mapping[str, int], connected: Sequence[Sequence[str]], folds: int
) -> tuple[dict[str, int], list[Sequence[str]]]:
    """Groups that overfill every fold, each into the fold with most room, and the groups still to be drawn."""
    waiting = sorted(connected, key=lambda group: (-len(group), min(group)))
    fold_of: dict[str, int] = {}
    counts = Counter(placed.values())
    have = [counts[fold] for fold in range(folds)]
    while waiting:
        sizes = even(have, sum(map(len, waiting)))
        room, fold = max((sizes[fold] - have[fold], -fold) for fold in range(folds))
        if len(waiting[0]) <= room:
            break
        group = waiting.pop(0)
        fold_of |= dict.fromkeys(group, -fold)
        have[-fold] += len(group)
    return fold_of, waiting


def even(have: Sequence[int], free: int) -> list[int]:
    """Sizes of folds that hold `have` once `free` more items have made them as equal as they can be."""
    order = sorted(range(len(have)), key=lambda fold: have[fold])
    filled = len(have)
    while sum(have[fold] for fold in order[:filled]) + free < filled * have[order[filled - 1]]:
        filled -= 1  # that fold holds more than its share as it is
    level, more = divmod(sum(have[fold] for fold in order[:filled]) + free, filled)
    sizes = list(have)
    for rank, fold in enumerate(sorted(order[:filled])):
        sizes[fold] = level + (rank < more)
    return sizes
