"""Who belongs together: people connected by couples are one cluster, the unit that intervals resample."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping


def connected(pairs: Iterable[tuple[Hashable, Hashable]]) -> dict[Hashable, int]:
    """Number of the connected component of every node of the graph, counted from 0 in order of appearance."""
    parent: dict[Hashable, Hashable] = {}

    def root(node: Hashable) -> Hashable:
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for one, other in pairs:
        parent[root(other)] = root(one)
    numbers: dict[Hashable, int] = {}
    return {node: numbers.setdefault(root(node), len(numbers)) for node in list(parent)}


def person_of(profile_id: str, people: Mapping[str, str] | None) -> tuple[str, str]:
    """The person behind a profile; without an entry in `people` (profile id -> user id) the profile stands alone."""
    user = people.get(profile_id) if people else None
    return ("user", user) if user else ("profile", profile_id)
