"""Decode each photo once, and group the profiles whose photos are copies or near copies of each other."""

import hashlib
import io
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from importlib.metadata import version

from omegaconf import DictConfig

from style_match.curation.sources import SourcePhoto
from style_match.data.fingerprints import Fingerprints, Pair, near_pairs, perceptual_hashes
from style_match.data.images import COLOUR_POLICY, BadImage, colour_of, decode_stream, open_stream
from style_match.utils.cache import DiskCache
from style_match.utils.errors import UserError
from style_match.utils.files import cache_root
from style_match.utils.graph import Components
from style_match.utils.progress import bar

MEMO = "prepare.sqlite"  # in the cache folder: facts of photos by the hash of their bytes
_SUFFIXES = {
    rb"\xff\xd8\xff": ".jpg",
    rb"\x89PNG": ".png",
    rb"GIF8": ".gif",
    rb"BM": ".bmp",
    rb"II\*\0|MM\0\*": ".tif",
    rb"RIFF....WEBP": ".webp",
    rb"....ftypavi[fs]": ".avif",
    rb"....ftyp": ".heic",
    rb"P[3-6]": ".ppm",
}
_CHUNK = 32  # photos per worker between two updates of the progress bar


@dataclass(frozen=True)
class Facts:
    """Facts of one photo.

    Attributes:
        sha256: hash of its bytes.
        width, height: pixels of the upright image, 0 if it cannot be decoded.
        suffix: of a file with this content, such as ".jpg".
        fault: why it cannot be decoded, else "".
        phash, dhash: hex of the perceptual and the difference hash, "" if it cannot be decoded.
        colour_fault: why its colour profile is ignored, else "".
    """

    sha256: str
    width: int
    height: int
    suffix: str
    fault: str
    phash: str = ""
    dhash: str = ""
    colour_fault: str = ""

    @property
    def ok(self) -> bool:
        return not self.fault


def inspect_photos(photos: Sequence[SourcePhoto], cfg: DictConfig, fingerprints: Fingerprints) -> list[Facts]:
    """Return the facts of every photo, in order; photos that were inspected before are not decoded again.

    Raises:
        UserError: lists all photos whose bytes cannot be read.
    """
    hash_size, max_source_pixels, num_workers = cfg.duplicates.hash_size, cfg.max_source_pixels, max(cfg.num_workers, 1)
    memo = DiskCache(cache_root() / MEMO)
    versions = ", ".join(f"{name} {version(name)}" for name in ("pillow", "imagehash"))
    key = f"prepare v2; {COLOUR_POLICY}; {versions}; hash {hash_size}; most {max_source_pixels}"

    def inspect(photo: SourcePhoto) -> Facts | UserError:
        try:
            content = photo.content() if photo.path is None else None
            sha256 = fingerprints.sha256(photo.path) if photo.path else hashlib.sha256(content or b"").hexdigest()
            if (known := memo.get(f"{sha256} {key}")) is not None:
                return Facts(*known)
            facts = _facts(photo.content() if content is None else content, photo.image, hash_size, max_source_pixels)
            memo.put(f"{facts.sha256} {key}", astuple(facts))
            return facts
        except OSError as error:
            return UserError(f"{photo.place}: cannot read {photo.image} ({error.strerror})")
        except UserError as error:
            return error

    found: list[Facts | UserError] = []
    # decoding and hashing release the GIL, so threads are enough
    with ThreadPoolExecutor(num_workers) as pool, bar("inspecting photos", "photos", show=cfg.progress) as advance:
        for start in range(0, len(photos), _CHUNK * num_workers):
            found += pool.map(inspect, photos[start : start + _CHUNK * num_workers])
            advance(len(found), len(photos))
    memo.close()
    if errors := [str(each) for each in found if isinstance(each, UserError)]:
        raise UserError("\n  ".join([f"{len(errors)} of {len(photos)} photos could not be read:", *errors]))
    return [each for each in found if isinstance(each, Facts)]


def _facts(content: bytes, name: str, hash_size: int, max_source_pixels: int) -> Facts:
    sha256, suffix = hashlib.sha256(content).hexdigest(), _suffix(content)
    try:
        image = decode_stream(io.BytesIO(content), name, max_source_pixels=max_source_pixels)
    except BadImage as error:
        return Facts(sha256, 0, 0, suffix, error.fault)
    colour_fault = colour_of(open_stream(io.BytesIO(content), name)).fault
    return Facts(sha256, image.width, image.height, suffix, "", *perceptual_hashes(image, hash_size), colour_fault)


def _suffix(content: bytes) -> str:
    """Return the suffix of an image format by its first bytes; ".bin" for unknown ones."""
    return next((suffix for start, suffix in _SUFFIXES.items() if re.match(start, content, re.DOTALL)), ".bin")


def find_copies(facts: Sequence[Facts], options: DictConfig, *, show: bool) -> list[Pair]:
    """Return positions (i < j) of photos with the same bytes or near hashes; of many equal ones, pairs with the first.

    Args:
        options: the config node `duplicates`.
        show: whether to show progress.

    Raises:
        UserError: the bounds would make any two photos copies.
    """
    for name in ("max_phash_bits", "max_dhash_bits"):
        if options[name] >= options.hash_size**2 // 2:
            raise UserError(
                f"duplicates.{name}={options[name]} is too large: any two photos differ in about half of the "
                f"{options.hash_size**2} bits of duplicates.hash_size={options.hash_size}"
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
            block=options.block,
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
    components = Components()
    first_of: dict[str, str] = {}
    for owner, name in settled.items():
        components.join(first_of.setdefault(name, owner) if name else owner, owner)
    settled_roots = {components.root(owner) for owner in settled}
    bridges: dict[int, str] = {}
    for one, other in sorted(pairs, key=lambda pair: (max(pair), min(pair))):
        roots = components.root(owners[one]), components.root(owners[other])
        if roots[0] == roots[1] or one in bridges or other in bridges:
            continue
        if roots[0] in settled_roots and roots[1] in settled_roots:
            new = [photo for photo in (one, other) if owners[photo] not in settled] or [max(one, other)]
            bridges[new[-1]] = owners[other if new[-1] == one else one]
        elif roots[1] in settled_roots:
            components.join(roots[1], roots[0])
        else:
            components.join(*roots)
    members: dict[Hashable, list[str]] = {}
    for owner in dict.fromkeys(owners):
        members.setdefault(components.root(owner), []).append(owner)
    groups = [each for each in members.values() if len(each) > 1]
    return {owner: f"d{number}" for number, each in enumerate(groups, start=1) for owner in each}, bridges
