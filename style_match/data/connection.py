"""Who is connected with whom, so that no person stands in two splits."""

from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING

from style_match.data.profiles import DUPLICATES

if TYPE_CHECKING:
    from style_match.data.folder import DatasetFolder

# (kind, name): ("profile", "f1"), ("user_id", "u7"), ("duplicate_group", "d3"), ("photo", hash of its pixels)
Key = tuple[str, str]


def item_keys(folder: "DatasetFolder") -> dict[str, tuple[Key, ...]]:
    """Item id -> what connects it with other items: its profiles, their people, their photos' pixels.

    Items are couples, or profiles for styles, in the order of their table.
    """
    of_profile = profile_keys(folder)
    if folder.task != "couple":
        return of_profile
    return {
        couple.item_id: tuple(dict.fromkeys(of_profile[couple.left_id] + of_profile[couple.right_id]))
        for couple in folder.couples
    }


def profile_keys(folder: "DatasetFolder") -> dict[str, tuple[Key, ...]]:
    """Profile id -> what tells who it is: itself, its `user_id`, its `duplicate_group`, its photos' pixels.

    Photos count once `check_photos` has decoded them: two files are one photo if their decoded pixels are equal.
    """
    keys_of: dict[str, tuple[Key, ...]] = {}
    for profile_id in folder.profile_ids:
        keys: list[Key] = [("profile", profile_id)]
        for column in ("user_id", DUPLICATES):
            if name := folder.columns[profile_id].get(column):
                keys.append((column, name))
        hashes = (photo_identity(folder, photo.image) for photo in folder.photos_of(profile_id))
        keys += [("photo", each) for each in hashes if each]
        keys_of[profile_id] = tuple(dict.fromkeys(keys))
    return keys_of


def photo_identity(folder: "DatasetFolder", image: str) -> str | None:
    """Hash of a photo's pixels, or of its bytes where it was not decoded; None before `check_photos`."""
    facts = folder.photo_facts.get(image)
    return facts.pixels if facts and facts.pixels else folder.photo_sha256.get(image)


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


def say(key: Key, folder: "DatasetFolder") -> str:
    """The connection in words."""
    kind, name = key
    if kind == "photo":
        images = sorted(photo.image for photo in folder.photos if photo_identity(folder, photo.image) == name)
        return f"the same photo ({', '.join(images[:3])})"
    if kind == DUPLICATES:
        return f"a copy or near copy of one photo ({DUPLICATES} {name})"
    return f"{kind} {name}"


def say_item(item: str) -> str:
    """An item id for a message: a couple's two ids joined by a plus sign."""
    return item.replace("\t", " + ")
