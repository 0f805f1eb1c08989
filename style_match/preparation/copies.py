"""Which photos are copies or near copies of each other, by two perceptual hashes and their Hamming distances."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from style_match.data.connection import Components
from style_match.errors import UserError
from style_match.preparation.inspection import Facts

Pair = tuple[int, int]


def find_pairs(
    facts: Sequence[Facts], options: Mapping[str, Any], progress: Callable[[int, int], object]
) -> list[Pair]:
    """Photos of the same bytes, of the same pixels or near ones; of many alike each is paired with the first at least.

    `options` is the node `duplicates` of the config. Raises UserError where it makes copies of all photos.
    """
    for name in ("max_phash_bits", "max_dhash_bits"):
        if options[name] >= options["hash_size"] ** 2 // 2:
            raise UserError(
                f"duplicates.{name}={options[name]}: any two photos differ in about half of the "
                f"{options['hash_size'] ** 2} bits of duplicates.hash_size={options['hash_size']}; give less"
            )
    # files that are no images are nobody's photo, and so nobody's copy
    same = equal([each.sha256 if each.ok else place for place, each in enumerate(facts)])
    same += equal([(each.phash, each.dhash) if each.ok else place for place, each in enumerate(facts)])
    again = {later for _, later in same}
    phashes = ["" if place in again else each.phash for place, each in enumerate(facts)]
    near = near_pairs(
        phashes,
        [each.dhash for each in facts],
        max_phash=options["max_phash_bits"],
        max_dhash=options["max_dhash_bits"],
        block=options["block"],
        progress=progress,
    )
    return sorted({*same, *near})


def near_pairs(
    phashes: Sequence[str],
    dhashes: Sequence[str],
    *,
    max_phash: int,
    max_dhash: int,
    block: int,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Pair]:
    """Positions (i < j) of photos whose hashes differ in at most so many bits each; "" is near to nobody.

    Every pair is compared, in blocks, so that memory does not grow with the square of their number.
    """
    known = [place for place, text in enumerate(phashes) if text]
    if len(known) < 2:
        return []
    coarse, fine = (_words([hashes[place] for place in known]) for hashes in (phashes, dhashes))
    found: list[Pair] = []
    for done, i, j in _within(coarse, max_phash, block):
        progress(done, len(known))
        sure = _distance(fine[i], fine[j]) <= max_dhash
        found += [(known[a], known[b]) for a, b in zip(i[sure].tolist(), j[sure].tolist(), strict=True)]
    return sorted(found)


def _within(words: np.ndarray, most: int, block: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(rows done, rows i, rows j > i) whose distance is at most `most`, a block at a time."""
    columns = np.ascontiguousarray(words.T)  # W, P: a word of all photos side by side
    width = 32 * block
    differing, counted = np.empty((block, width), np.uint64), np.empty((block, width), np.uint8)
    distance = np.empty((block, width), np.uint8)
    for first in range(0, len(words), block):
        rows = words[first : first + block]
        for second in range(first, len(words), width):
            size = (slice(len(rows)), slice(min(width, len(words) - second)))
            distance[size] = 0
            for word in range(min(2, len(columns))):  # of 128 bits strangers differ in too many already
                np.bitwise_xor(rows[:, word, None], columns[word, None, second : second + width], out=differing[size])
                np.bitwise_count(differing[size], out=counted[size])
                distance[size] += counted[size]
            i, j = np.nonzero(distance[size] <= most)
            i, j = i + first, j + second
            i, j = i[i < j], j[i < j]
            near = _distance(words[i], words[j]) <= most
            yield min(first + block, len(words)), i[near], j[near]


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.bitwise_count(one ^ other).sum(axis=-1, dtype=np.int64)


def _words(hashes: Sequence[str]) -> np.ndarray:
    """Hex hashes as rows of 64-bit words, filled up with zeros."""
    length = -(-len(hashes[0]) // 16) * 16
    return np.array(
        [[int(text.zfill(length)[at : at + 16], 16) for at in range(0, length, 16)] for text in hashes], np.uint64
    )


def equal(values: Sequence[Hashable]) -> list[Pair]:
    """(first, later) positions of equal values."""
    first: dict[Hashable, int] = {}
    return [(first[each], place) for place, each in enumerate(values) if first.setdefault(each, place) != place]


def group(
    owners: Sequence[str], pairs: Iterable[Pair], settled: Mapping[str, str]
) -> tuple[dict[str, str], dict[int, str]]:
    """({owner: name of its group} for owners connected with others, {photo: an owner it is also a copy of}).

    The second result has new photos that would connect two groups whose splits are drawn already, and are to be left
    out.

    Args:
        owners: of each photo.
        settled: owners whom an earlier preparation has kept -> the group they were in, or "".
    """
    components = Components()
    first_of: dict[str, str] = {}
    for owner, name in settled.items():
        components.join(first_of.setdefault(name, owner) if name else owner, owner)
    has_settled = {components.root(owner) for owner in settled}
    bridges: dict[int, str] = {}
    for one, other in sorted(pairs, key=lambda pair: (max(pair), min(pair))):
        roots = components.root(owners[one]), components.root(owners[other])
        if roots[0] == roots[1] or one in bridges or other in bridges:
            continue
        if roots[0] in has_settled and roots[1] in has_settled:
            new = [photo for photo in (one, other) if owners[photo] not in settled] or [max(one, other)]
            bridges[new[-1]] = owners[other if new[-1] == one else one]
        elif roots[1] in has_settled:
            components.join(roots[1], roots[0])
        else:
            components.join(*roots)
    members: dict[Hashable, list[str]] = {}
    for owner in dict.fromkeys(owners):
        members.setdefault(components.root(owner), []).append(owner)
    several = [some for some in members.values() if len(some) > 1]
    return {owner: f"d{number}" for number, some in enumerate(several, start=1) for owner in some}, bridges
