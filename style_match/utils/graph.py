"""Who is connected with whom, so that no person stands in two splits."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

# (kind, name): ("profile", "f1"), ("user_id", "u7"), ("duplicate_group", "d3"), ("photo", hash of its pixels)
Key = tuple[str, str]


class Components:
    """The connected components of a graph whose edges come one by one; a node not seen before stands alone."""

    def __init__(self) -> None:
        self._parent: dict[Hashable, Hashable] = {}

    def root(self, node: Hashable) -> Hashable:
        """A node that stands for the whole component."""
        parent = self._parent
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    def join(self, one: Hashable, other: Hashable) -> None:
        """Make them one component; the root of `one` stands for it."""
        self._parent[self.root(other)] = self.root(one)

    def numbers(self) -> dict[Hashable, int]:
        """Number of the component of every node, counted from 0 in order of appearance."""
        numbers: dict[Hashable, int] = {}
        return {node: numbers.setdefault(self.root(node), len(numbers)) for node in list(self._parent)}


def connected(pairs: Iterable[tuple[Hashable, Hashable]]) -> dict[Hashable, int]:
    """Number of the connected component of every node of the graph, counted from 0 in order of appearance."""
    components = Components()
    for one, other in pairs:
        components.join(one, other)
    return components.numbers()


def groups(keys: Mapping[str, Iterable[Key]]) -> list[list[str]]:
    """Connected components: items that share a key, directly or through others. Order of first appearance."""
    number = connected((item, other) for item, its_keys in keys.items() for other in (item, *its_keys))
    found: dict[int, list[str]] = {}
    for item in keys:
        found.setdefault(number[item], []).append(item)
    return list(found.values())


def across_splits(keys: Mapping[str, Iterable[Key]], name_of: Mapping[str, str]) -> list[tuple[Key, str, str]]:
    """(key, item, item) for each key whose items stand in two splits, with the first item of either."""
    first: dict[Key, str] = {}
    found: dict[Key, tuple[Key, str, str]] = {}
    for item, its_keys in keys.items():
        for key in its_keys:
            other = first.setdefault(key, item)
            if name_of[other] != name_of[item]:
                found.setdefault(key, (key, other, item))
    return list(found.values())


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
