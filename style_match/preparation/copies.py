"""Which photos are copies or near copies of each other, by two perceptual hashes and their Hamming distances."""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from style_match.data.connection import Components
from style_match.data.copies import Pair, near_pairs
from style_match.errors import UserError
from style_match.preparation.inspection import Facts


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
