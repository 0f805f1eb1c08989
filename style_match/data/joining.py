"""New rows that belong to people whose split is already settled."""

import heapq
from collections.abc import Mapping

from style_match.data.connection import Key

Touched = dict[str, tuple[Key, str]]  # split -> the key that leads there and an item of that split


def join(keys: Mapping[str, tuple[Key, ...]], old: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Touched]]:
    """New items that follow an old one, directly or through others: ({item: split}, {item: the splits it touches}).

    An item of the second kind connects two splits and can be in neither. Earlier rows go first, so of a chain between
    two splits it is the later row that is left out.
    """
    split_of: dict[Key, tuple[str, str]] = {key: (split, item) for item, split in old.items() for key in keys[item]}
    order = {item: position for position, item in enumerate(keys)}
    new = [item for item in keys if item not in old]
    with_key: dict[Key, list[str]] = {}
    for item in new:
        for key in keys[item]:
            with_key.setdefault(key, []).append(item)
    waiting = [(order[item], item) for item in new if any(key in split_of for key in keys[item])]
    heapq.heapify(waiting)
    queued = {item for _, item in waiting}
    joined: dict[str, str] = {}
    refused: dict[str, Touched] = {}
    while waiting:
        _, item = heapq.heappop(waiting)
        touched: Touched = {}
        for key in keys[item]:
            if key in split_of:
                split, other = split_of[key]
                touched.setdefault(split, (key, other))
        if len(touched) > 1:
            refused[item] = touched
            continue
        joined[item] = next(iter(touched))
        for key in keys[item]:
            if key in split_of:
                continue
            split_of[key] = (joined[item], item)
            for neighbour in with_key[key]:
                if neighbour not in queued:
                    queued.add(neighbour)
                    heapq.heappush(waiting, (order[neighbour], neighbour))
    return joined, refused
