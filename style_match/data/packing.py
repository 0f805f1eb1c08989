"""Groups of several items into train, val and test so that single items can fill each split exactly."""

from collections.abc import Sequence

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
