"""Find copies and near copies among photos, and group the profiles that they connect."""

from collections.abc import Hashable, Iterable, Mapping, Sequence

from omegaconf import DictConfig
from scipy.cluster.hierarchy import DisjointSet

from style_match.data.fingerprints import HASH_SIZE, Pair, PhotoFacts, near_pairs
from style_match.utils.errors import UserError
from style_match.utils.progress import bar


def find_copies(facts: Sequence[PhotoFacts], options: DictConfig, *, show: bool) -> list[Pair]:
    """Return positions (i < j) of photos with the same bytes or near hashes; of many equal ones, pairs with the first.

    Args:
        options: the config node `duplicates`.
        show: whether to show progress.

    Raises:
        UserError: the bounds would make any two photos copies.
    """
    for name in ("max_phash_bits", "max_dhash_bits"):
        if options[name] >= HASH_SIZE**2 // 2:
            raise UserError(
                f"duplicates.{name}={options[name]} is too large: any two photos differ in about half of the "
                f"{HASH_SIZE**2} bits"
            )
    # broken files are not photos of anybody, so equal ones do not connect their profiles
    same = equal_pairs([each.sha256 if each.ok else place for place, each in enumerate(facts)])
    same += equal_pairs([(each.phash, each.dhash) if each.ok else place for place, each in enumerate(facts)])
    later = {place for _, place in same}
    with bar("comparing photos", "photos", show=show) as advance:
        near = near_pairs(
            ["" if place in later else each.phash for place, each in enumerate(facts)],
            [each.dhash for each in facts],
            max_phash=options.max_phash_bits,
            max_dhash=options.max_dhash_bits,
            progress=advance,
        )
    return sorted({*same, *near})


def equal_pairs(values: Sequence[Hashable]) -> list[Pair]:
    """Return (first, later) positions of equal values."""
    first: dict[Hashable, int] = {}
    return [(first[each], place) for place, each in enumerate(values) if first.setdefault(each, place) != place]


def group_profiles(
    owners: Sequence[str], pairs: Iterable[Pair], settled: Mapping[str, str]
) -> tuple[dict[str, str], dict[int, str]]:
    """Group the profiles that copies connect, without joining groups whose splits are already drawn.

    Args:
        owners: profile id of each photo.
        pairs: positions of copies.
        settled: profile id -> its group (or "") in the earlier preparation.

    Returns:
        {profile id: name of its group} for groups of two profiles or more, and {photo: a profile of which it is a copy
        too} for new photos that would connect two settled groups and must be left out.
    """
    components = DisjointSet([*settled, *owners])
    first_of: dict[str, str] = {}
    for owner, name in settled.items():
        components.merge(first_of.setdefault(name, owner) if name else owner, owner)
    settled_roots = {components[owner] for owner in settled}
    bridges: dict[int, str] = {}
    for one, other in sorted(pairs, key=lambda pair: (max(pair), min(pair))):
        roots = {components[owners[one]], components[owners[other]]}
        if len(roots) == 1 or one in bridges or other in bridges:
            continue
        if roots <= settled_roots:
            new = [photo for photo in (one, other) if owners[photo] not in settled] or [max(one, other)]
            bridges[new[-1]] = owners[other if new[-1] == one else one]
        else:
            components.merge(*roots)
            if roots & settled_roots:
                settled_roots.add(components[owners[one]])
    members: dict[str, list[str]] = {}
    for owner in dict.fromkeys(owners):
        members.setdefault(components[owner], []).append(owner)
    groups = [each for each in members.values() if len(each) > 1]
    return {owner: f"d{number}" for number, each in enumerate(groups, start=1) for owner in each}, bridges
