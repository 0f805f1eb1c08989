"""Who is one person, and whom nobody may hold against a model as a wrong answer."""

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

from style_match.data.connection import groups, profile_keys

if TYPE_CHECKING:
    from style_match.data.folder import DatasetFolder


def people_of(folder: "DatasetFolder") -> dict[str, int]:
    """Profile id -> number of the person behind it; the one definition of a person, for splits, training and scores.

    Profiles are of one person where they share a `user_id`, a `duplicate_group` or a photo's pixels, directly or
    through others.
    """
    persons = enumerate(groups(profile_keys(folder)))
    return {profile_id: number for number, profile_ids in persons for profile_id in profile_ids}


def not_strangers(
    left: Sequence[Hashable], right: Sequence[Hashable], couples: Iterable[tuple[Hashable, Hashable]]
) -> list[tuple[int, int]]:
    """(position in left, position in right) of all pairs who are one person or a couple; nobody is wrong for the other.

    Args:
        left: the person behind each profile of one gallery; `right` of the other.
        couples: of people, in either order.
    """
    known: dict[Hashable, set[Hashable]] = {person: {person} for person in left}
    for couple in couples:
        for one, other in (couple, couple[::-1]):
            if one in known:
                known[one].add(other)
    places: dict[Hashable, list[int]] = {}
    for place, person in enumerate(right):
        places.setdefault(person, []).append(place)
    pairs = ((i, j) for i, person in enumerate(left) for other in known[person] for j in places.get(other, ()))
    return sorted(pairs)
