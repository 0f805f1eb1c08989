"""Groups of items to train, val and test: exact counts where the groups' sizes allow, classes spread evenly.

Every choice is drawn from a hash of the seed and the item's name, so that neither the order of the rows nor the
version of a random generator changes it.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

# Groups of several items into train, val and test so that single items can fill each split exactly.


_MAX_BITS = 2**26  # 8 MB of look-ahead; beyond it only the last, smallest groups are looked ahead for


class Packing:
    """Places groups one after the other, looking ahead so that exact counts stay within reach.

    A subset-sum table: bit (v, t) of a set says that v items in val and t items in test can be reached. When no way
    of placing the groups keeps within `room`, the nearest one is aimed at.

    Args:
        sizes: items in each group, largest first.
        room: items that train, val and test should hold in the end.
        num_single: items without a group, which fill what the groups leave.
    """

    def __init__(self, sizes: Sequence[int], room: Sequence[int], num_single: int) -> None:
        self._sizes, self._room, self._num_single = list(sizes), list(room), num_single
        self.used = [0, 0, 0]
        self._placed = 0
        largest = max(sizes, default=0)
        # one group may overshoot; the columns beyond that are empty, so a shift never runs into the next row
        self._max_val, self._max_test = room[1] + largest, room[2] + largest
        self._width = self._max_test + largest + 1
        bits = (self._max_val + 1) * self._width
        ahead = min(len(sizes), _MAX_BITS // bits)
        self._first_ahead = len(sizes) - ahead
        row = "1" * (self._max_test + 1)
        self._mask = int(row.zfill(self._width) * (self._max_val + 1), 2) if ahead else 0
        self._sets = self._look_ahead() if ahead else []

    def options(self) -> list[int]:
        """The splits the next group may go to; at least one."""
        size = self._sizes[self._placed]
        fitting = [j for j in range(3) if self._leads_on(j, size)]
        if fitting:
            return fitting
        return [max(range(3), key=lambda j: self._room[j] - self.used[j])]

    def place(self, split: int) -> None:
        """Puts the next group there."""
        self.used[split] += self._sizes[self._placed]
        self._placed += 1

    def _leads_on(self, split: int, size: int) -> bool:
        used = [count + size * (j == split) for j, count in enumerate(self.used)]
        level = self._placed + 1 - self._first_ahead
        if not self._sets or level < 0:
            return used[split] <= self._room[split]
        if used[1] > self._max_val or used[2] > self._max_test:
            return False
        return bool(self._sets[level] >> (used[1] * self._width + used[2]) & 1)

    def _look_ahead(self) -> list[int]:
        """Sets for the groups from `first_ahead` on: where one may stand before each of them, and at the end."""
        sets = [self._goals()]
        for size in reversed(self._sizes[self._first_ahead :]):
            later = sets[-1]
            sets.append((later | later >> size | later >> size * self._width) & self._mask)
        return sets[::-1]

    def _goals(self) -> int:
        total, rows = sum(self._sizes), []
        for val in range(min(self._room[1], total) + 1):
            low, high = max(0, total - val - self._room[0]), min(self._room[2], total - val)
            rows.append(("1" * (high - low + 1) + "0" * low).zfill(self._width) if low <= high else "0" * self._width)
        goals = int("".join(reversed(rows)), 2)
        if self._first_ahead:
            return goals
        reached = 1
        for size in self._sizes:
            reached |= (reached << size | reached << size * self._width) & self._mask
        if reached & goals:
            return goals
        states = [divmod(bit, self._width) for bit, digit in enumerate(reversed(f"{reached:b}")) if digit == "1"]
        val, test = min(states, key=lambda state: self._miss(state[0], state[1], total))
        return 1 << (val * self._width + test)

    def _miss(self, val: int, test: int, total: int) -> tuple[int, int]:
        """Splits left empty, then items too many, summed over the splits."""
        used = (total - val - test, val, test)
        empty = sum(not count for count, space in zip(used, self._room, strict=True) if space) - self._num_single
        return max(empty, 0), sum(max(count - space, 0) for count, space in zip(used, self._room, strict=True))


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
