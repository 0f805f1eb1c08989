"""Groups of items to train, val and test: counts as exact as the groups allow, classes spread evenly.

Every choice is drawn from a hash of the seed and the item's name, so that neither the order of the rows nor the
version of a random generator changes it.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import accumulate

Shares = list[Fraction]  # train, val, test


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
    """Draw a part (0, 1 or 2) for the items of `groups`; the items of a group stay together.

    Groups of several items go first, the largest before the others, each into a part that has room for it; single
    items then fill the parts up.

    Args:
        placed: items that already have a part.
        labels: the class of an item, if it has one; every part should have its share of each class.
        shares: of each part in each class.
        counts: the number of items each part should have in the end; their sum is the number of all items.
    """
    free = [item for group in groups for item in group]
    class_of = {item: labels.get(item, "") for item in (*placed, *free)}
    want = {name: [share * total for share in shares] for name, total in Counter(class_of.values()).items()}
    have = [0, 0, 0]
    for item, j in placed.items():
        want[class_of[item]][j] -= 1
        have[j] += 1
    room = _fit([count - had for count, had in zip(counts, have, strict=True)], len(free), have)

    ordered = sorted(groups, key=lambda group: (-len(group), _hash(seed, min(group))))
    part_of: dict[str, int] = {}
    for group in ordered:
        if len(group) == 1:
            continue
        classes = Counter(class_of[item] for item in group)
        options = [j for j in range(3) if len(group) <= room[j]]
        if not options:  # an empty part first, otherwise the one with most room
            options = [max(range(3), key=lambda j: (room[j] > 0 and not have[j], room[j]))]
        weights = [sum(max(want[name][j], Fraction(0)) * count for name, count in classes.items()) for j in options]
        # drawn by weight; the first option if all weights are 0
        goal = Fraction(_hash(seed, f"{min(group)}\tsplit"), 2**64) * sum(weights)
        sums = zip(options, accumulate(weights), strict=True)
        part = next((option for option, reached in sums if goal < reached), options[0])
        for name, count in classes.items():
            want[name][part] -= count
        room[part] -= len(group)
        have[part] += len(group)
        part_of |= dict.fromkeys(group, part)

    members: dict[str, list[str]] = {}
    for group in ordered:
        if len(group) == 1:
            members.setdefault(class_of[group[0]], []).append(group[0])
    num_single = {name: len(items) for name, items in members.items()}
    for name, (first, second, _) in _spread(num_single, want, _fit(room, sum(num_single.values()), have)).items():
        for position, item in enumerate(members[name]):
            part_of[item] = (position >= first) + (position >= first + second)
    return part_of


def _fit(room: Sequence[int], total: int, have: Sequence[int]) -> list[int]:
    """`room` without negative numbers, lowered at its largest until the sum is `total`.

    The last place of a part without items (`have`) is given up only if no other is left.
    """
    left = [max(space, 0) for space in room]
    while sum(left) > total:
        is_last = [space == 1 and not count for space, count in zip(left, have, strict=True)]
        left[max(range(len(left)), key=lambda j: (left[j] > 0, not is_last[j], left[j]))] -= 1
    return left


def _spread(rows: Mapping[str, int], want: Mapping[str, Shares], columns: Sequence[int]) -> dict[str, list[int]]:
    """Whole counts (class x part) with these row and column sums, near `want`: its floors, then largest remainders."""
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


def _hash(seed: int | str, name: str) -> int:
    """A number from 0 up to 2^64 that belongs to the name."""
    digest = hashlib.sha256(f"{seed}\t{name}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big")
