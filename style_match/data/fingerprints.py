"""Copies and near copies of photos: equal pixels, or two perceptual hashes that differ in few bits."""

import functools
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from style_match.data.images import (
    COLOUR_POLICY,
    DECODE_POLICY,
    BadImage,
    colour_of,
    decode_stream,
    open_stream,
    too_many_pixels,
)
from style_match.utils.cache import Memo
from style_match.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

# Near copies are pairs of which both hashes are near: bits of each hash, and how many of them may differ. Measured on
# drawn figures: no false pair among 1,500; re-encoded, resized and brightened photos and crops of 2 % are all found.
HASH_SIZE, MAX_PHASH_BITS, MAX_DHASH_BITS, BLOCK = 16, 40, 64, 128

Pair = tuple[int, int]


def pixel_hash(image: "Image") -> str:
    """Hex digest of an image's mode, size and pixels."""
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()


def perceptual_hashes(image: "Image", hash_size: int = HASH_SIZE) -> tuple[str, str]:
    """Hex of imagehash's perceptual and difference hash, each of `hash_size` x `hash_size` bits."""
    import imagehash

    return str(imagehash.phash(image, hash_size)), str(imagehash.dhash(image, hash_size))


def near_pairs(
    phashes: Sequence[str],
    dhashes: Sequence[str],
    *,
    max_phash: int = MAX_PHASH_BITS,
    max_dhash: int = MAX_DHASH_BITS,
    block: int = BLOCK,
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


def near_copies_across(
    images: Sequence[str], splits: Sequence[str], hashes: Sequence[tuple[str, str]]
) -> list[tuple[str, str, str, str]]:
    """Find the photos that look like a copy of a photo in another split.

    Args:
        images: (P,) names of photos.
        splits: (P,) the split of each.
        hashes: (P,) the perceptual and the difference hash of each, in hex.

    Returns:
        (image, its split, a copy, the split of the copy), one row for each such photo, in the order of `images`.
    """
    alike: dict[tuple[str, tuple[str, str]], list[int]] = {}  # photos of one split with equal hashes
    for place, key in enumerate(zip(splits, hashes, strict=True)):
        alike.setdefault(key, []).append(place)
    groups = list(alike.values())
    firsts = [group[0] for group in groups]
    copy_of: dict[int, int] = {}
    for a, b in near_pairs([hashes[place][0] for place in firsts], [hashes[place][1] for place in firsts]):
        if splits[firsts[a]] != splits[firsts[b]]:
            for group, copy in ((groups[a], firsts[b]), (groups[b], firsts[a])):
                for place in group:
                    copy_of.setdefault(place, copy)
    return [(images[i], splits[i], images[copy], splits[copy]) for i, copy in sorted(copy_of.items())]


# What a file holds, as a hash, and what a photo is, without reading either twice.


# A file changed twice within one tick of its clock shows one time. Ticks last 10 ms at most on Linux file systems,
# 2 s on FAT and some network ones, whose times end in zeros.
_TICK_NS, _COARSE_TICK_NS = 50_000_000, 2_500_000_000


@dataclass(frozen=True)
class PhotoFacts:
    """Facts of one photo file.

    Attributes:
        sha256: hash of the file's bytes.
        width, height: pixels of the upright image, 0 where `ok` is false.
        fault: the reason why the file cannot be decoded, "" where `ok` is true.
        pixels: hash of the decoded pixels; files with other bytes, such as other metadata, may share it.
        phash, dhash: hex of the perceptual hashes of `style_match.data.fingerprints`.
        is_converted: whether an embedded colour profile changes the pixels.
        colour_fault: why an embedded colour profile is passed over.
    """

    sha256: str
    width: int
    height: int
    ok: bool
    fault: str
    pixels: str = ""
    phash: str = ""
    dhash: str = ""
    is_converted: bool = False
    colour_fault: str = ""

    @property
    def decode_policy(self) -> str:
        """Part of the address of the photo's features."""
        return COLOUR_POLICY if self.is_converted else DECODE_POLICY


class Fingerprints:
    """sha256 of files and the verdict of a full decode, remembered by path, size, times and inode.

    Args:
        memo: an sqlite file, made where it does not exist; None remembers nothing. Several processes and threads may
            share it. A broken or unwritable one is not used, and a warning says so once.
    """

    def __init__(self, memo: Path | None) -> None:
        self._memo = None if memo is None else Memo(Path(memo))

    def sha256(self, path: Path) -> str:
        """Hex digest of the file's bytes. Raises UserError when it cannot be read or changes meanwhile."""
        known = self._known_sha256(path)
        return known if known is not None else self._read(path, decode=False, bound=None).sha256

    def photo(self, path: Path, *, max_source_pixels: int | None = None) -> PhotoFacts:
        """Decodes the photo in full unless its bytes were decoded before; a bad image is told in the result.

        `max_source_pixels` is Pillow's own bound when None. Raises UserError when the file cannot be read.
        """
        from PIL import Image

        bound = Image.MAX_IMAGE_PIXELS if max_source_pixels is None else max_source_pixels
        sha256 = self._known_sha256(path)
        facts = None if sha256 is None else self._known_photo(sha256, bound)
        return facts if facts is not None else self._read(path, decode=True, bound=bound)

    def forget(self, paths: Iterable[Path], sha256s: Iterable[str], *, dry_run: bool = False) -> int:
        """Forget these files and all that is remembered of bytes with these hashes; returns how many entries.

        Raises:
            UserError: the memo cannot be changed.
        """
        if self._memo is None:
            return 0
        keys = [_file_key(path) for path in paths]
        return self._memo.count(keys, sha256s) if dry_run else self._memo.remove(keys, sha256s)

    def close(self) -> None:
        if self._memo is not None:
            self._memo.close()

    def _read(self, path: Path, *, decode: bool, bound: int | None) -> PhotoFacts:
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would wait for ever
                raise UserError(f"{path}: is not a regular file")
            with open(path, "rb") as stream:
                before = os.fstat(stream.fileno())
                sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
                stream.seek(0)
                facts = self._decode(stream, str(path), sha256, bound) if decode else PhotoFacts(sha256, 0, 0, True, "")
                unchanged = stamp(before) == stamp(os.fstat(stream.fileno()))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        if not unchanged:
            raise UserError(f"{path}: was changed while it was read; run again when nothing writes to it")
        if self._memo is not None and _settled(before):
            self._memo.put(_file_key(path), {"stamp": stamp(before), "sha256": sha256})
        return facts

    def _decode(self, stream: BinaryIO, name: str, sha256: str, bound: int | None) -> PhotoFacts:
        known = self._known_photo(sha256, bound)
        if known is not None:
            return known
        try:
            image = decode_stream(stream, name, max_source_pixels=bound)
            stream.seek(0)
            colour = colour_of(open_stream(stream, name))
            hashes = (pixel_hash(image), *perceptual_hashes(image))
            is_converted = colour.transform is not None
            facts = PhotoFacts(sha256, *image.size, True, "", *hashes, is_converted, colour.fault)
        except BadImage as error:
            facts = PhotoFacts(sha256, 0, 0, False, error.fault)
            if error.depends_on_bound:
                return facts
        if self._memo is not None:
            self._memo.put(_photo_key(sha256), list(astuple(facts)[1:]))
        return facts

    def _known_sha256(self, path: Path) -> str | None:
        if self._memo is None:
            return None
        known = self._memo.get(_file_key(path))
        try:
            return known["sha256"] if known is not None and known["stamp"] == stamp(os.stat(path)) else None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error

    def _known_photo(self, sha256: str, bound: int | None) -> PhotoFacts | None:
        known = None if self._memo is None else self._memo.get(_photo_key(sha256))
        if known is None:
            return None
        facts = PhotoFacts(sha256, *known)
        if bound is not None and facts.width * facts.height > bound:
            return PhotoFacts(sha256, 0, 0, False, too_many_pixels(facts.width, facts.height, bound))
        return facts


def _file_key(path: Path) -> str:
    return f"file {os.path.abspath(path)}"


def _photo_key(sha256: str) -> str:
    return f"photo v2 {sha256} {COLOUR_POLICY} {_versions()}"


@functools.cache
def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("pillow", "imagehash"))


def stamp(status: os.stat_result) -> list[int]:
    """What a file that was changed does not keep; also ctime: an edit that puts the old mtime back still moves it."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def _settled(status: os.stat_result) -> bool:
    """Whether a later change of the file is sure to show in its times."""
    changed = max(status.st_mtime_ns, status.st_ctime_ns)
    tick = _COARSE_TICK_NS if changed % 1_000_000_000 == 0 else _TICK_NS
    return time.time_ns() - changed > tick
