"""Broken, hostile and foreign files are answered with a plain message."""

import contextlib
import functools
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from style_match.data import images
from style_match.data.images import BadImage, decode
from style_match.utils.errors import UserError

from .pictures import BOUND, picture, png, saved

HEIC_START = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello, this is no photo", r"x\.jpg: is not an image in a format read here .*it begins with b'hello, "),
        (b"", r"x\.jpg: is empty"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "is not an image"),  # not handed to Ghostscript
        (saved(Image.new("F", (4, 4)), "TIFF"), "32-bit samples"),
        (saved(Image.new("RGB", (1, 201)), "PNG"), "one side is over 200 times the other"),
        (saved(Image.new("RGB", (1001, 1000)), "PNG"), r"x\.jpg: 1001 x 1000 = 1001000 pixels, more than data\.max_s"),
        (png(60_000, 60_000, 8, 2, b""), "60000 x 60000 = 3600000000 pixels, more than"),
    ],
)
def test_a_bad_image_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.jpg").write_bytes(content)
    bound = Image.MAX_IMAGE_PIXELS
    with pytest.raises(BadImage, match=message):
        decode(tmp_path / "x.jpg", max_source_pixels=BOUND)
    assert bound == Image.MAX_IMAGE_PIXELS, "Pillow's own guard must stay for everyone else"


def test_a_bomb_allocates_nothing() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # 3.6 GB at 3 bytes each would show
    for kind in (2, 6):
        with pytest.raises(BadImage, match="pixels, more than"):
            decode(png(60_000, 60_000, 8, kind, b"\0" * 1000), max_source_pixels=178_956_970)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_bounds_are_inclusive_and_may_be_above_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(saved(picture(), "PNG"), max_source_pixels=48 * 32).size == (48, 32)
    assert decode(saved(Image.new("RGB", (1, 200)), "PNG"), max_source_pixels=BOUND).size == (1, 200)


@functools.cache
def photo_bytes(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    return saved(Image.fromarray(noise), kind)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@given(share=st.floats(0, 0.95))
def test_a_file_cut_off_anywhere(kind: str, share: float) -> None:
    data = photo_bytes(kind)
    with pytest.raises(BadImage, match=r"damaged|cut off|empty|not an image"):
        decode(data[: int(share * len(data))], max_source_pixels=BOUND)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"]))
def test_garbage(tail: bytes, start: bytes) -> None:
    with pytest.raises(BadImage):
        decode(start + tail, max_source_pixels=BOUND)


@given(st.data())
def test_flipped_bytes(data: st.DataObject) -> None:
    photo = bytearray(photo_bytes(data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        photo[data.draw(st.integers(0, min(len(photo), 400) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadImage):
        assert decode(bytes(photo), max_source_pixels=BOUND).mode == "RGB"


def test_a_file_that_cannot_be_read_is_no_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images._heic_is_registered.cache_clear()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(HEIC_START)
    for name, message in (("gone", r"gone: cannot be read \(No such file"), ("a.heic", r"'style_match\[heic\]'")):
        with pytest.raises(UserError, match=message) as caught:
            decode(tmp_path / name, max_source_pixels=BOUND)
        assert not isinstance(caught.value, BadImage), "excluding the profile would hide the fault"
    images._heic_is_registered.cache_clear()


def test_damaged_heic() -> None:
    pytest.importorskip("pillow_heif")
    with pytest.raises(BadImage, match="damaged"):
        decode(HEIC_START, max_source_pixels=BOUND)
