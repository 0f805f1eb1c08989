"""Connected components of people, and the pairs that are no negatives for each other."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# (kind, name): ("profile", "f1"), ("user_id", "u7"), ("duplicate_group", "d3"), ("photo", hash of its pixels)
Key = tuple[str, str]


def connected(pairs: Iterable[tuple[Hashable, Hashable]]) -> dict[Hashable, int]:
    """Number the connected components of a graph.

    Args:
        pairs: edges; a pair of equal nodes adds a node without an edge.

    Returns:
        node -> number of its component, counted from 0 in order of first appearance.
    """
    index: dict[Hashable, int] = {}
    edges = [(index.setdefault(one, len(index)), index.setdefault(other, len(index))) for one, other in pairs]
    if not edges:
        return {}
    rows, columns = np.array(edges).T
    graph = coo_array((np.ones(len(edges), np.int8), (rows, columns)), shape=(len(index), len(index)))
    _, labels = connected_components(graph, directed=False)
    numbers: dict[int, int] = {}
    return {node: numbers.setdefault(label, len(numbers)) for node, label in zip(index, labels.tolist(), strict=True)}


def groups(keys: Mapping[str, Iterable[Key]]) -> list[list[str]]:
    """Group the items that share a key, directly or through others; in order of first appearance."""
    number = connected((item, other) for item, its_keys in keys.items() for other in (item, *its_keys))
    found: dict[int, list[str]] = {}
    for item in keys:
        found.setdefault(number[item], []).append(item)
    return list(found.values())


def across_splits(keys: Mapping[str, Iterable[Key]], name_of: Mapping[str, str]) -> list[tuple[Key, str, str]]:
    """Find the keys that items of two splits share: (key, first item of one split, first item of another)."""
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
    """Positions (in left, in right) of all pairs that are one person or a couple, and so never negatives.

    Args:
        left: the person behind each profile of one gallery; `right` of the other.
        couples: pairs of people, in either order.
    """
    partners: dict[Hashable, set[Hashable]] = {person: {person} for person in left}
    for couple in couples:
        for one, other in (couple, couple[::-1]):
            if one in partners:
                partners[one].add(other)
    positions: dict[Hashable, list[int]] = {}
    for position, person in enumerate(right):
        positions.setdefault(person, []).append(position)
    pairs = ((i, j) for i, person in enumerate(left) for other in partners[person] for j in positions.get(other, ()))
    return sorted(pairs)
