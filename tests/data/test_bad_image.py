"""Broken, hostile and foreign files are answered with a plain message, never with anything else."""

import contextlib
import functools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from style_match.data.images import BadImage, decode
from style_match.utils.errors import UserError

from .pictures import BOUND, picture, png, saved


def test_32_bit_samples_are_refused() -> None:
    with pytest.raises(BadImage, match="32-bit samples"):
        decode(saved(Image.new("F", (4, 4)), "TIFF"), max_source_pixels=BOUND)


def test_60000_x_60000_is_answered_from_its_header(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png(60_000, 60_000, 8, 2, b""))
    bound = Image.MAX_IMAGE_PIXELS
    with pytest.raises(BadImage, match=r"bomb\.png: 60000 x 60000 = 3600000000 pixels, more than data.max_source"):
        decode(bomb, max_source_pixels=178_956_970)
    assert bound == Image.MAX_IMAGE_PIXELS, "Pillow's own guard must stand for everyone else"


def test_a_bomb_allocates_nothing() -> None:
    import resource

    # the memory of pixels would show: 3.6 GB at 3 bytes each is 10 GB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for kind in (2, 6):
        with pytest.raises(BadImage, match="pixels, more than"):
            decode(png(60_000, 60_000, 8, kind, b"\0" * 1000), max_source_pixels=178_956_970)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


def test_bound_is_inclusive() -> None:
    data = saved(picture(), "PNG")
    assert decode(data, max_source_pixels=48 * 32).size == (48, 32)
    with pytest.raises(BadImage, match="48 x 32 = 1536 pixels"):
        decode(data, max_source_pixels=48 * 32 - 1)


def test_bound_may_be_above_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert decode(saved(picture(), "PNG"), max_source_pixels=BOUND).size == (48, 32)


def test_a_strip_is_refused() -> None:
    with pytest.raises(BadImage, match="one side is over 200 times the other"):
        decode(saved(Image.new("RGB", (1, 201)), "PNG"), max_source_pixels=BOUND)
    assert decode(saved(Image.new("RGB", (1, 200)), "PNG"), max_source_pixels=BOUND).size == (1, 200)


@functools.cache
def photo_bytes(kind: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)
    return saved(Image.fromarray(noise), kind)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
@given(share=st.floats(0, 0.95))
def test_a_file_cut_off_anywhere_is_told(kind: str, share: float) -> None:
    data = photo_bytes(kind)
    with pytest.raises(BadImage, match=r"damaged|cut off|empty|not an image"):
        decode(data[: int(share * len(data))], max_source_pixels=BOUND)


@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]),
)
def test_garbage_is_always_a_bad_image(tail: bytes, start: bytes) -> None:
    with pytest.raises(BadImage):
        decode(start + tail, max_source_pixels=BOUND)


@given(st.data())
def test_flipped_bytes_never_escape_as_anything_else(data: st.DataObject) -> None:
    photo = bytearray(photo_bytes(data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        photo[data.draw(st.integers(0, min(len(photo), 400) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BadImage):
        assert decode(bytes(photo), max_source_pixels=BOUND).mode == "RGB"


def test_text_named_jpg(tmp_path: Path) -> None:
    path = tmp_path / "notes.jpg"
    path.write_text("hello, this is no photo")
    with pytest.raises(BadImage, match=r"notes\.jpg: is not an image in a format read here .*it begins with b'hello, "):
        decode(path, max_source_pixels=BOUND)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(BadImage, match=r"empty\.jpg: is empty"):
        decode(tmp_path / "empty.jpg", max_source_pixels=BOUND)


def test_postscript_is_not_handed_to_ghostscript() -> None:
    with pytest.raises(BadImage, match="not an image"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", max_source_pixels=BOUND)


def test_missing_file_is_not_a_bad_image(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg: cannot be read \(No such file") as caught:
        decode(tmp_path / "gone.jpg", max_source_pixels=BOUND)
    assert not isinstance(caught.value, BadImage)


HEIC_START = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"


def test_heic_without_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    from style_match.data import images

    images._heic_is_registered.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(UserError, match=r"pip install 'style_match\[heic\]'") as caught:
        decode(HEIC_START, max_source_pixels=BOUND)
    assert not isinstance(caught.value, BadImage), "installing the reader mends it, leaving the profile out does not"
    images._heic_is_registered.cache_clear()


def test_damaged_heic() -> None:
    pytest.importorskip("pillow_heif")
    with pytest.raises(BadImage, match="damaged"):
        decode(HEIC_START, max_source_pixels=BOUND)
