"""What a file holds, as a hash, and what a photo is, without reading either twice."""

import functools
import hashlib
import os
import stat
import time
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from style_match.data.colour import colour_of
from style_match.data.copies import perceptual_hashes, pixel_hash
from style_match.data.image import COLOUR_POLICY, DECODE_POLICY, BadImage, decode_stream, open_stream, too_many_pixels
from style_match.data.memo import Memo
from style_match.errors import UserError

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
        phash, dhash: hex of the perceptual hashes of `style_match.data.copies`.
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
