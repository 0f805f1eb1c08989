"""Every kind of photo file comes out as the same upright RGB picture."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from style_match.data.images import decode

from .pictures import BOUND, largest_difference, picture, png, quarters, saved


def decoded(data: bytes) -> Image.Image:
    return decode(data, max_source_pixels=BOUND)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF", "WEBP"])
def test_lossless_formats(kind: str) -> None:
    assert largest_difference(decoded(saved(picture(), kind, lossless=True)), picture()) == 0


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF"])
@pytest.mark.parametrize("progressive", [False, True])
def test_lossy_formats(kind: str, progressive: bool) -> None:
    found = decoded(saved(picture(), kind, quality=95, progressive=progressive))
    assert found.size == picture().size
    assert np.abs(quarters(found) - quarters(picture())).max() < 4


TURNS = {3: 180, 6: 90, 8: 270}  # degrees by which the stored photo is turned against the clock


@pytest.mark.parametrize("orientation", [*range(10), 65535])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    is_mirrored, is_turned = orientation in (2, 4, 5, 7), 5 <= orientation <= 8
    upright = ImageOps.mirror(picture()) if is_mirrored else picture()
    turn = TURNS.get({4: 3, 5: 6, 7: 8}.get(orientation, orientation), 0)
    stored = upright.rotate(turn, expand=True)
    found = decoded(saved(stored, kind, exif=exif, quality=95))
    assert found.size == picture().size and stored.size == ((32, 48) if is_turned else (48, 32))
    assert np.abs(quarters(found) - quarters(picture())).max() < 4


def test_broken_exif_block_leaves_the_photo_as_stored() -> None:
    data = saved(picture(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage", quality=95, subsampling=0)
    assert largest_difference(decoded(data), picture()) <= 8


def test_cmyk_jpeg_has_adobes_polarity() -> None:
    data = saved(picture().convert("CMYK"), "JPEG", quality=98, subsampling=0)
    assert b"Adobe" in data[:64]
    assert largest_difference(decoded(data), picture()) <= 12


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "TIFF"), ("L", "PNG"), ("1", "PNG")])
def test_other_modes(mode: str, kind: str) -> None:
    image = picture().convert(mode)
    assert largest_difference(decoded(saved(image, kind)), image.convert("RGB")) == 0


def over_white(rgba: np.ndarray) -> np.ndarray:
    """The defining formula, pixel by pixel in floating point."""
    alpha = rgba[..., 3:].astype(float) / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@given(st.binary(min_size=6 * 5 * 4, max_size=6 * 5 * 4), st.sampled_from(["PNG", "TIFF", "WEBP"]))
def test_alpha_is_over_white(pixels: bytes, kind: str) -> None:
    rgba = np.frombuffer(pixels, np.uint8).reshape(5, 6, 4)
    data = saved(Image.fromarray(rgba), kind, **({"lossless": True, "exact": True} if kind == "WEBP" else {}))
    found = np.asarray(decoded(data), float)
    assert np.abs(found - over_white(rgba)).max() <= 1


def test_gray_with_alpha_is_over_white() -> None:
    gray = np.stack([np.full((4, 4), 100, np.uint8), np.array([[0, 85, 170, 255]] * 4, np.uint8)], axis=-1)
    found = np.asarray(decoded(saved(Image.fromarray(gray), "PNG")))[0, :, 0]
    assert np.abs(found.astype(int) - [255, 203, 152, 100]).max() <= 1


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 128])])
def test_palette_with_transparency(transparency: int | bytes) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    found = np.asarray(decoded(saved(image, "PNG", transparency=transparency)))[0].tolist()
    assert found[0] == [10, 20, 30]
    assert found[1] == [255, 255, 255]
    expected = [70, 80, 90] if isinstance(transparency, int) else [255 - 185 * 128 // 255, 167, 172]
    assert np.abs(np.array(found[2]) - expected).max() <= 1


def test_one_colour_named_transparent() -> None:
    gray = Image.fromarray(np.array([[7, 8]], np.uint8))
    assert np.asarray(decoded(saved(gray, "PNG", transparency=7)))[0, :, 0].tolist() == [255, 8]
    rgb = Image.fromarray(np.array([[[1, 2, 3], [1, 2, 4]]], np.uint8))
    found = np.asarray(decoded(saved(rgb, "PNG", transparency=(1, 2, 3))))[0].tolist()
    assert found == [[255, 255, 255], [1, 2, 4]]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_16_bit_gray_is_scaled(kind: str) -> None:
    values = np.array([[0, 128, 129, 257 * 100, 40_000, 65_535]], np.uint16)
    found = np.asarray(decoded(saved(Image.fromarray(values), kind)))
    assert found[0, :, 0].tolist() == np.round(values[0] / 257).astype(int).tolist()
    assert (found[..., 0] == found[..., 2]).all()


def test_16_bit_gray_with_a_transparent_value() -> None:
    trns = struct.pack(">I", 2) + b"tRNS" + struct.pack(">H", 1000)
    trns += struct.pack(">I", zlib.crc32(trns[4:]))
    data = png(2, 1, 16, 0, b"\0" + struct.pack(">HH", 1000, 65_535 // 5), trns)
    assert np.asarray(decoded(data))[0, :, 0].tolist() == [255, 51]


def test_16_bit_colour() -> None:
    data = png(1, 1, 16, 2, b"\0" + struct.pack(">HHH", 257 * 10, 257 * 20, 257 * 30))
    assert np.asarray(decoded(data)).tolist() == [[[10, 20, 30]]]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_animation_gives_its_first_frame(kind: str) -> None:
    others = [Image.new("RGB", (48, 32), color) for color in ("white", "black")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(picture(), kind, save_all=True, append_images=others, **options)
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 3
    assert largest_difference(decoded(data), picture()) == 0


def test_heic() -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[274] = 6
    data = saved(picture().rotate(90, expand=True), "HEIF", quality=95, exif=exif.tobytes())
    assert b"irot" in data, "as phones write it: the file is turned by its own box, and EXIF repeats it"
    found = decoded(data)
    assert found.size == picture().size
    assert np.abs(quarters(found) - quarters(picture())).max() < 4
