"""Identity of photo files: cached hashes of bytes and pixels, and near copies by perceptual hashes."""

import functools
import hashlib
import io
import os
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from style_match.data.images import (
    COLOUR_POLICY,
    DECODE_POLICY,
    BadImage,
    colour_of,
    decode_stream,
    open_stream,
    too_many_pixels,
)
from style_match.utils.cache import DiskCache
from style_match.utils.errors import UserError

# Near copies are pairs of which both hashes are near: bits of each hash, and how many of them may differ. Measured on
# drawn figures: no false pair among 1,500; re-encoded, resized and brightened photos and crops of 2 % are all found.
HASH_SIZE, MAX_PHASH_BITS, MAX_DHASH_BITS, BLOCK = 16, 40, 64, 128

_TICK_NS = 50_000_000  # a file that was changed twice within one tick of the file system's clock shows one time

Pair = tuple[int, int]


@dataclass(frozen=True)
class PhotoFacts:
    """Facts of one photo file.

    Attributes:
        sha256: Hash of the file's bytes.
        width, height: Pixels of the upright image, 0 if `ok` is false.
        fault: The reason why the file cannot be decoded, "" if `ok` is true.
        pixels: Hash of the decoded pixels; files with different bytes, such as other metadata, may share it.
        phash, dhash: Perceptual hashes in hex.
        is_converted: Whether an embedded colour profile changes the pixels.
        colour_fault: The reason why an embedded colour profile is ignored.
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
    """Hashes of files and the results of full decodes, cached by path, size, times and inode.

    Args:
        memo: An SQLite file, created if it does not exist; None caches nothing. Processes and threads may share it.
    """

    def __init__(self, memo: Path | None) -> None:
        self._memo = None if memo is None else DiskCache(Path(memo))

    def sha256(self, path: Path) -> str:
        """Hex digest of the file's bytes. Raises UserError when it cannot be read."""
        return self._cached_sha256(path) or self._read(path)[0]

    def photo(self, path: Path, *, max_source_pixels: int | None = None) -> PhotoFacts:
        """Decode the photo in full unless its bytes were decoded before; the result says if the image is bad.

        `max_source_pixels` is Pillow's own bound when None. Raises UserError when the file cannot be read.
        """
        bound = Image.MAX_IMAGE_PIXELS if max_source_pixels is None else max_source_pixels
        sha256 = self._cached_sha256(path)
        if sha256 is not None and (facts := self._cached_facts(sha256, bound)) is not None:
            return facts
        sha256, content = self._read(path)
        return self._facts(content, str(path), sha256, bound)

    def photo_of(self, content: bytes, name: str, *, max_source_pixels: int) -> PhotoFacts:
        """`photo` for bytes that are no file; `name` is for messages."""
        return self._facts(content, name, hashlib.sha256(content).hexdigest(), max_source_pixels)

    def forget(self, paths: Iterable[Path], sha256s: Iterable[str], *, dry_run: bool = False) -> int:
        """Remove these files and everything cached of bytes with these hashes; return the number of entries.

        Raises:
            UserError: The cache cannot be changed.
        """
        if self._memo is None:
            return 0
        keys = [_file_key(path) for path in paths]
        return self._memo.count(keys, sha256s) if dry_run else self._memo.remove(keys, sha256s)

    def close(self) -> None:
        if self._memo is not None:
            self._memo.close()

    def _read(self, path: Path) -> tuple[str, bytes]:
        """(hash, content) of a file."""
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
                raise UserError(f"{path}: is not a regular file")
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        sha256 = hashlib.sha256(content).hexdigest()
        is_settled = time.time_ns() - max(status.st_mtime_ns, status.st_ctime_ns) > _TICK_NS
        if self._memo is not None and is_settled:
            self._memo.put(_file_key(path), {"stamp": stamp(status), "sha256": sha256})
        return sha256, content

    def _facts(self, content: bytes, name: str, sha256: str, bound: int | None) -> PhotoFacts:
        return self._cached_facts(sha256, bound) or self._decode(content, name, sha256, bound)

    def _decode(self, content: bytes, name: str, sha256: str, bound: int | None) -> PhotoFacts:
        try:
            image = decode_stream(io.BytesIO(content), name, max_source_pixels=bound)
            colour = colour_of(open_stream(io.BytesIO(content), name))
            hashes = (pixel_hash(image), *perceptual_hashes(image))
            facts = PhotoFacts(sha256, *image.size, True, "", *hashes, colour.transform is not None, colour.fault)
        except BadImage as error:
            facts = PhotoFacts(sha256, 0, 0, False, error.fault)
            if error.depends_on_bound:
                return facts
        if self._memo is not None:
            self._memo.put(_photo_key(sha256), list(astuple(facts)[1:]))
        return facts

    def _cached_sha256(self, path: Path) -> str | None:
        cached = None if self._memo is None else self._memo.get(_file_key(path))
        try:
            return cached["sha256"] if cached is not None and cached["stamp"] == stamp(os.stat(path)) else None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error

    def _cached_facts(self, sha256: str, bound: int | None) -> PhotoFacts | None:
        cached = None if self._memo is None else self._memo.get(_photo_key(sha256))
        if cached is None:
            return None
        facts = PhotoFacts(sha256, *cached)
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
    """Return what changes with the file; ctime too, since an edit that restores the old mtime still moves it."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev]


def pixel_hash(image: Image.Image) -> str:
    """Hex digest of an image's mode, size and pixels."""
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()


PIXELS = "pixels "  # begins a name made by `pixels_name`


def pixels_name(pixels: str) -> str:
    """Name a photo in seen.txt by the hash of its pixels."""
    return PIXELS + pixels


def perceptual_hashes(image: Image.Image) -> tuple[str, str]:
    """Hex of imagehash's perceptual and difference hash, each of `HASH_SIZE` x `HASH_SIZE` bits."""
    import imagehash  # imports scipy.fftpack

    return str(imagehash.phash(image, HASH_SIZE)), str(imagehash.dhash(image, HASH_SIZE))


def near_pairs(
    phashes: Sequence[str],
    dhashes: Sequence[str],
    *,
    max_phash: int = MAX_PHASH_BITS,
    max_dhash: int = MAX_DHASH_BITS,
    block: int = BLOCK,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[Pair]:
    """Positions (i < j) of photos whose hashes both differ in few bits; an empty hash is near to none.

    All pairs are compared, `block` photos with all others at a time.
    """
    present = [position for position, text in enumerate(phashes) if text]
    if len(present) < 2:
        return []
    coarse, fine = (_words([hashes[position] for position in present]) for hashes in (phashes, dhashes))
    found: list[Pair] = []
    for first in range(0, len(present), block):
        rows, rest = coarse[first : first + block], coarse[first:]
        # the first two words, 128 bits, rule out nearly all pairs
        distance = sum(np.bitwise_count(rows[:, None, w] ^ rest[None, :, w]) for w in range(min(2, rest.shape[1])))
        i, j = (positions + first for positions in np.nonzero(np.triu(distance <= max_phash, 1)))
        is_near = (_distance(coarse[i], coarse[j]) <= max_phash) & (_distance(fine[i], fine[j]) <= max_dhash)
        found += [(present[a], present[b]) for a, b in zip(i[is_near].tolist(), j[is_near].tolist(), strict=True)]
        progress(min(first + block, len(present)), len(present))
    return found


def _distance(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.bitwise_count(one ^ other).sum(axis=-1, dtype=np.int64)


def _words(hashes: Sequence[str]) -> np.ndarray:
    """Hex hashes as rows of 64-bit words, padded with zeros."""
    length = -(-len(hashes[0]) // 16) * 16
    return np.array([np.frombuffer(bytes.fromhex(text.zfill(length)), ">u8") for text in hashes]).astype(np.uint64)


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
    same: dict[tuple[str, tuple[str, str]], list[int]] = {}  # photos of one split with equal hashes
    for position, key in enumerate(zip(splits, hashes, strict=True)):
        same.setdefault(key, []).append(position)
    groups = list(same.values())
    firsts = [group[0] for group in groups]
    copy_of: dict[int, int] = {}
    for a, b in near_pairs(*([hashes[position][kind] for position in firsts] for kind in (0, 1))):
        if splits[firsts[a]] != splits[firsts[b]]:
            for group, copy in ((groups[a], firsts[b]), (groups[b], firsts[a])):
                for position in group:
                    copy_of.setdefault(position, copy)
    return [(images[i], splits[i], images[copy], splits[copy]) for i, copy in sorted(copy_of.items())]
