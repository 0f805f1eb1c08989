"""Groups of items to train, val and test: exact counts where the groups' sizes allow, classes spread evenly.

Every choice is drawn from a hash of the seed and the item's name, so that neither the order of the rows nor the
version of a random generator changes it.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from style_match.data.packing import Packing

Shares = list[Fraction]  # train, val, test
_NONE = Fraction(0)


def split_counts(total: int, fractions: Sequence[Fraction]) -> list[int]:
    """train = floor(f0 n), val = floor(f1 n), test = the rest."""
    train, val = (math.floor(fraction * total) for fraction in fractions[:2])
    return [train, val, total - train - val]


def draw(
    placed: Mapping[str, int],
    groups: Sequence[Sequence[str]],
    *,
    labels: Mapping[str, str],
    shares: Sequence[Fraction],
    counts: Sequence[int],
    seed: int | str,
) -> dict[str, int]:
    """Item -> 0, 1 or 2 for the items of `groups`, so that with those already `placed` each part has its share.

    Args:
        labels: the class of an item, where it has one; every part should hold its share of each class.
        counts: how many items each part should have in the end; adds up to the number of all items.
    """
    free = [item for group in groups for item in group]
    class_of = {item: labels.get(item, "") for item in (*placed, *free)}
    wanted = {name: [share * total for share in shares] for name, total in Counter(class_of.values()).items()}
    for item, j in placed.items():
        wanted[class_of[item]][j] -= 1
    have = Counter(placed.values())
    room = fit([count - have[j] for j, count in enumerate(counts)], len(free), [have[j] for j in range(len(counts))])
    return allocate(groups, class_of=class_of, wanted=wanted, room=room, seed=seed)


def allocate(
    groups: Iterable[Sequence[str]],
    *,
    class_of: Mapping[str, str],
    wanted: Mapping[str, Shares],
    room: Sequence[int],
    seed: int | str,
) -> dict[str, int]:
    """Item -> 0, 1 or 2, the items of a group together.

    Args:
        class_of: the class of every item.
        wanted: class -> how many of its items each split should still get (fractions of an item).
        room: how many items each split should get; adds up to the number of items.
    """
    ordered = sorted(groups, key=lambda group: (-len(group), _hash(seed, min(group))))
    large = [group for group in ordered if len(group) > 1]
    single = [group[0] for group in ordered if len(group) == 1]
    want = {name: list(shares) for name, shares in wanted.items()}
    split_of: dict[str, int] = {}

    packing = Packing([len(group) for group in large], room, len(single))
    for group in large:
        classes = Counter(class_of[item] for item in group)
        options = packing.options()
        weights = [sum((max(want[each][j], _NONE) * classes[each] for each in classes), _NONE) for j in options]
        chosen = (
            options[0]
            if not any(weights)
            else _weighted(options, weights, Fraction(_hash(seed, f"{min(group)}\tsplit"), 2**64))
        )
        packing.place(chosen)
        for name, count in classes.items():
            want[name][chosen] -= count
        split_of |= dict.fromkeys(group, chosen)

    members: dict[str, list[str]] = {}
    for item in single:
        members.setdefault(class_of[item], []).append(item)
    rows = {name: len(items) for name, items in members.items()}
    space = [space - used for space, used in zip(room, packing.used, strict=True)]
    left = fit(space, len(single), packing.used)
    for name, counts in spread(rows, want, left).items():
        bounds = [0, counts[0], counts[0] + counts[1], rows[name]]
        for j in range(3):
            split_of |= dict.fromkeys(members[name][bounds[j] : bounds[j + 1]], j)
    return split_of


def fit(room: Sequence[int], total: int, used: Sequence[int]) -> list[int]:
    """`room` with nothing negative, lowered where most is left until it adds up to `total`.

    The last place of a split that has nobody yet (`used`) is given up only where no other is left.
    """
    left = [max(space, 0) for space in room]
    while sum(left) > total:
        last = [space == 1 and not there for space, there in zip(left, used, strict=True)]
        left[max(range(len(left)), key=lambda j: (left[j] > 0, not last[j], left[j], -j))] -= 1
    return left


def spread(rows: Mapping[str, int], want: Mapping[str, Shares], columns: Sequence[int]) -> dict[str, list[int]]:
    """Whole counts (class x split) with these row and column sums, near `want`: its floors, then largest remainders."""
    left_in_row, left = dict(rows), list(columns)
    cells = {name: [0, 0, 0] for name in sorted(rows)}

    def add(name: str, j: int, count: int) -> None:
        cells[name][j] += count
        left_in_row[name] -= count
        left[j] -= count

    for name in cells:
        for j in range(3):
            add(name, j, min(max(math.floor(want[name][j]), 0), left_in_row[name], left[j]))
    while any(left_in_row.values()):
        open_cells = [(name, j) for name in cells if left_in_row[name] for j in range(3) if left[j]]
        add(*max(open_cells, key=lambda cell: want[cell[0]][cell[1]] - cells[cell[0]][cell[1]]), 1)
    return cells


def _weighted(options: Sequence[int], weights: Sequence[Fraction], at: Fraction) -> int:
    """The option at the share `at` (from 0 up to 1) of the summed weights."""
    reached, goal = _NONE, at * sum(weights)
    for option, weight in zip(options, weights, strict=True):
        reached += weight
        if goal < reached:
            return option
    return options[-1]


def _hash(seed: int | str, name: str) -> int:
    """A number from 0 up to 2^64 that belongs to the name."""
    digest = hashlib.sha256(f"{seed}\t{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")
