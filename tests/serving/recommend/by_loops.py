"""Recommendations written from their definitions, with loops."""

import itertools

import numpy as np

from style_match.serving.profiles import ProfileEmbeddings


def cosine(profiles: ProfileEmbeddings, a: int, b: int) -> float:
    one, other = (profiles.embeddings[row].astype(np.float64) for row in (a, b))
    return round(float(sum(x * y for x, y in zip(one, other, strict=True))), 12)


def paired(profiles: ProfileEmbeddings, a: int, b: int) -> bool:
    """Whether two profiles could be paired at all."""
    if profiles.people[a] == profiles.people[b]:
        return False
    return profiles.side_names is None or {profiles.sides[a], profiles.sides[b]} == {0, 1}


def ranking(profiles: ProfileEmbeddings, a: int, filtered) -> list[int]:
    """All that may be recommended to a, best first."""
    rows = [b for b in range(len(profiles)) if paired(profiles, a, b) and filtered[b]]
    return sorted(rows, key=lambda b: (-cosine(profiles, a, b), profiles.profile_ids[b]))


def mutual_ranking(profiles: ProfileEmbeddings, a: int, filtered) -> list[int]:
    everybody = [True] * len(profiles)
    own = ranking(profiles, a, filtered)

    def key(b: int):
        there, back = own.index(b) + 1, ranking(profiles, b, everybody).index(a) + 1
        return max(there, back), there + back, -cosine(profiles, a, b), profiles.profile_ids[b]

    return sorted(own, key=key)


def capped(orders: list[list[int]], key, k: int, cap: int) -> list[list[int]]:
    """In rounds: always the best pair of a user without one of this round and a profile with room."""
    lists = [[] for _ in orders]
    for _ in range(k):
        waiting = set(range(len(orders)))
        while True:
            used = [sum(row in taken for taken in lists) for row in range(len(orders))]
            pairs = [
                (key(user, row), user, row)
                for user in waiting
                for row in orders[user]
                if row not in lists[user] and used[row] < cap
            ]
            if not pairs:
                break
            _, user, row = min(pairs)
            lists[user].append(row)
            waiting.remove(user)
    return lists


def gini(counts) -> float:
    """Half the mean absolute difference of all pairs, over the mean."""
    differences = [abs(x - y) for x, y in itertools.product(counts, repeat=2)]
    return float(np.mean(differences) / 2 / np.mean(counts)) if sum(counts) else 0.0
