"""What each photo is: bytes, size, whether it can be decoded, and two perceptual hashes of its pixels."""

import hashlib
import io
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from style_match.curation.sources import SourcePhoto
from style_match.data.fingerprints import Fingerprints, Pair, near_pairs, perceptual_hashes
from style_match.data.images import COLOUR_POLICY, BadImage, colour_of, decode_stream, open_stream
from style_match.utils.cache import Memo
from style_match.utils.errors import UserError
from style_match.utils.graph import Components

MEMO = "prepare.sqlite"  # in the cache: what was seen of each photo's bytes
_AHEAD = 32  # photos a worker is given at once


@dataclass(frozen=True)
class Facts:
    """Width and height are pixels of the upright image; where it cannot be decoded, `fault` says why.

    Attributes:
        colour_fault: why an embedded colour profile is passed over.
        phash, dhash: hex of imagehash's perceptual and difference hash; "" where it cannot be decoded.
    """

    sha256: str
    width: int
    height: int
    suffix: str
    fault: str
    phash: str
    dhash: str
    colour_fault: str = ""

    @property
    def ok(self) -> bool:
        return not self.fault


class Inspector:
    """Decodes a photo once; what was seen is remembered by its bytes in `memo` (an sqlite file)."""

    def __init__(self, memo: Path, fingerprints: Fingerprints, *, hash_size: int, max_source_pixels: int):
        from imagehash import __version__ as imagehash_version
        from PIL import __version__ as pillow_version

        self._memo, self._fingerprints = Memo(memo), fingerprints
        self._hash_size, self._bound = hash_size, max_source_pixels
        versions = f"pillow {pillow_version}, imagehash {imagehash_version}"
        self._key = f"prepare v2; {COLOUR_POLICY}; {versions}; hash {hash_size}; most {max_source_pixels}"

    def look(self, photo: SourcePhoto) -> Facts:
        """Raises UserError where it cannot be read at all."""
        content = None
        try:
            if photo.path is None:
                content = photo.content()
                sha256 = hashlib.sha256(content).hexdigest()
            else:
                sha256 = self._fingerprints.sha256(photo.path)
            if (known := self._memo.get(f"{sha256} {self._key}")) is not None:
                return Facts(*known)
            content = photo.content() if content is None else content
        except OSError as error:
            raise UserError(f"{photo.place}: {photo.image} cannot be read ({error.strerror})") from error
        facts = self._decode(content, photo)
        self._memo.put(f"{facts.sha256} {self._key}", astuple(facts))
        return facts

    def _decode(self, content: bytes, photo: SourcePhoto) -> Facts:
        sha256, suffix = hashlib.sha256(content).hexdigest(), suffix_of(content)
        try:
            image = decode_stream(io.BytesIO(content), photo.image, max_source_pixels=self._bound)
        except BadImage as error:
            return Facts(sha256, 0, 0, suffix, error.fault, "", "")
        fault = colour_of(open_stream(io.BytesIO(content), photo.image)).fault
        hashes = perceptual_hashes(image, self._hash_size)
        return Facts(sha256, image.width, image.height, suffix, "", *hashes, fault)

    def all(
        self, photos: Sequence[SourcePhoto], *, num_workers: int, progress: Callable[[int, int], object]
    ) -> list[Facts]:
        """Facts of every photo, in their order. Raises UserError listing all that could not be read."""

        def attempt(photo: SourcePhoto) -> Facts | UserError:
            try:
                return self.look(photo)
            except UserError as error:
                return error

        found: list[Facts] = []
        unreadable: list[str] = []
        with ThreadPoolExecutor(max(num_workers, 1)) as pool:
            step = _AHEAD * max(num_workers, 1)
            for start in range(0, len(photos), step):
                for each in pool.map(attempt, photos[start : start + step]):
                    if isinstance(each, Facts):
                        found.append(each)
                    else:
                        unreadable.append(str(each))
                progress(min(start + step, len(photos)), len(photos))
        if unreadable:
            raise UserError("\n  ".join([f"{len(unreadable)} of {len(photos)} photos could not be read:", *unreadable]))
        return found


def suffix_of(content: bytes) -> str:
    """The ending of an image file, told from its first bytes; ".bin" where they are of none."""
    starts = {
        b"\xff\xd8\xff": ".jpg",
        b"\x89PNG": ".png",
        b"GIF8": ".gif",
        b"BM": ".bmp",
        b"II*\0": ".tif",
        b"MM\0*": ".tif",
    }
    for start, suffix in starts.items():
        if content.startswith(start):
            return suffix
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content[4:8] == b"ftyp":
        return ".avif" if content[8:12] in (b"avif", b"avis") else ".heic"
    return ".ppm" if content[:1] == b"P" and content[1:2] in b"3456" else ".bin"


# Which photos are copies or near copies of each other, by two perceptual hashes and their Hamming distances.


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
