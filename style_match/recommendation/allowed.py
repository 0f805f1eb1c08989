"""Who may be recommended to whom."""

import numpy as np

from style_match.matcher.vectors import SIDE, Vectors
from style_match.recommendation.query import Asked, profile
from style_match.where import And, Compare, Condition, check, mask, parse


class Allowed:
    """Never the person who asks, of couples only the other side, and only whom `where` leaves.

    Attributes:
        condition: what `where` says; None for everybody.
        filtered: (N,) bool, whom `where` leaves.

    Raises:
        UserError: `where` cannot be read, or does not fit the columns.
    """

    def __init__(self, profiles: Vectors, where: str | None):
        self.profiles = profiles
        self.condition = parse(where) if where is not None else None
        self.filtered = np.ones(len(profiles), dtype=bool)
        if self.condition is not None:
            names = dict.fromkeys(name for cells in profiles.columns for name in cells)
            check(self.condition, {name: [cells.get(name, "") for cells in profiles.columns] for name in names})
            self.filtered = mask(self.condition, profiles.columns)

    def side(self, asked: Asked) -> np.ndarray:
        """(N,) bool: those whom the one who asks could be paired with at all, the person itself left out."""
        could = self.profiles.people != asked.person
        return could & (self.profiles.sides == 1 - asked.side) if self.profiles.side_names is not None else could

    def rows(self, asked: Asked) -> np.ndarray:
        """(N,) bool: those who may be recommended."""
        return self.side(asked) & self.filtered

    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) of each profile: how many may be recommended to it, and whether it may be recommended to somebody."""
        gallery = np.zeros(len(self.profiles), dtype=np.int64)
        candidates = np.zeros(len(self.profiles), dtype=bool)
        for row in range(len(self.profiles)):
            may = self.rows(profile(self.profiles, row))
            gallery[row] = may.sum()
            candidates |= may
        return gallery, candidates

    def for_index(self, side: int) -> Condition | None:
        """The condition on the columns of an index for those who ask from one side."""
        names = self.profiles.side_names
        if names is None:
            return self.condition
        other = Compare(SIDE, "==", names[1 - side])
        return other if self.condition is None else And((other, self.condition))

    def themselves(self, asked: Asked) -> list[str]:
        """The profiles of the person who asks."""
        return [self.profiles.profile_ids[row] for row in np.flatnonzero(self.profiles.people == asked.person).tolist()]
