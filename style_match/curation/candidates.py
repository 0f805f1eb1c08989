"""Candidates: the photos of a source, decoded, hashed and named for the dataset folder."""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from omegaconf import DictConfig

from style_match.curation.sources import SourcePhoto
from style_match.data.fingerprints import Fingerprints, PhotoFacts
from style_match.data.records import LEFT_OUT
from style_match.utils.errors import UserError
from style_match.utils.progress import bar

PHOTOS = "photos"  # folder of the photos in the dataset folder
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
_HEAD_BYTES = 16  # enough for every pattern of `_SUFFIXES`


@dataclass
class Candidate:
    """A photo of the source on its way into the dataset folder.

    Attributes:
        image: its path there, such as photos/p1.jpg.
        kind: of the reason, for counting; "" if the photo is kept.
        reason: why the photo is left out.
    """

    photo: SourcePhoto
    facts: PhotoFacts
    image: str
    kind: str = ""
    reason: str = ""


def inspect_photos(photos: Sequence[SourcePhoto], cfg: DictConfig, fingerprints: Fingerprints) -> list[Candidate]:
    """Decode and name every photo; bytes that were decoded before are not decoded again.

    Raises:
        UserError: lists the photos that cannot be read, or that cannot be decoded while `on_bad_image` is "error".
    """
    most = cfg.max_source_pixels

    def inspect(photo: SourcePhoto) -> tuple[PhotoFacts, bytes] | UserError:
        try:
            if photo.path is None:
                content = photo.content()
                return fingerprints.photo_of(content, photo.image, max_source_pixels=most), content[:_HEAD_BYTES]
            with open(photo.path, "rb") as file:
                head = file.read(_HEAD_BYTES)
            return fingerprints.photo(photo.path, max_source_pixels=most), head
        except OSError as error:
            return UserError(f"{photo.place}: cannot read {photo.image} ({error.strerror})")
        except UserError as error:
            return error

    stems = file_stems([photo.profile_id for photo in photos])
    candidates, unreadable = [], []
    # decoding and hashing release the GIL, so threads are enough
    pool = ThreadPoolExecutor(max(cfg.num_workers, 1))
    with pool, bar("inspecting photos", "photos", show=cfg.progress) as advance:
        for photo, stem, found in zip(photos, stems, pool.map(inspect, photos), strict=True):
            if isinstance(found, UserError):
                unreadable.append(str(found))
            else:
                facts, head = found
                candidates.append(Candidate(photo, facts, f"{PHOTOS}/{stem}{_suffix(head)}"))
            advance(len(candidates) + len(unreadable), len(photos))
    if unreadable:
        raise UserError("\n  ".join([f"{len(unreadable)} of {len(photos)} photos could not be read:", *unreadable]))
    bad = [each for each in candidates if each.facts.fault and not each.photo.columns.get(LEFT_OUT)]
    if bad and cfg.on_bad_image == "error":
        title = f"{len(bad)} of {len(photos)} photos cannot be used"
        lines = (f"{each.photo.place}: {each.photo.image}: {each.facts.fault}" for each in bad)
        raise UserError("\n  ".join([f"{title} (repair or remove them, or set on_bad_image=exclude):", *lines]))
    return candidates


def _suffix(head: bytes) -> str:
    """Return the suffix of an image format by the first bytes of a file, ".bin" for unknown formats."""
    return next((suffix for start, suffix in _SUFFIXES.items() if re.match(start, head, re.DOTALL)), ".bin")


# Names of photos made from profile ids: valid on every file system, the same for the same ids.

_MAX_BYTES = 120  # file systems allow 255; a suffix and a number follow
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


def file_stems(profile_ids: Sequence[str]) -> list[str]:
    """Return one stem per photo: its profile id, followed by +2, +3, ... for further photos of a profile.

    An id that is no valid name, or differs from another one in case only, is changed and followed by its hash.
    """
    plain = {each: _plain_name(each) for each in dict.fromkeys(profile_ids)}
    shared = Counter(_folded(stem) for stem in plain.values())
    stem_of = {
        each: stem if stem == each and shared[_folded(stem)] == 1 else f"{stem}-{_hash(each)}"
        for each, stem in plain.items()
    }
    count: Counter[str] = Counter()
    stems = []
    for each in profile_ids:
        count[each] += 1
        stems.append(stem_of[each] + (f"+{count[each]}" if count[each] > 1 else ""))
    return stems


def _plain_name(profile_id: str) -> str:
    """Return the id with letters and digits of any script, -, _ and inner dots only; never empty."""
    text = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", profile_id)).strip(".-")
    text = text.encode()[:_MAX_BYTES].decode(errors="ignore").strip(".-")
    return f"_{text}" if not text or _RESERVED.fullmatch(text) else text


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFKC", stem).casefold()


def _hash(profile_id: str) -> str:
    return hashlib.sha256(profile_id.encode("utf-8", "surrogateescape")).hexdigest()[:10]
