"""Embedded colour profiles: the same picture in another colour space is the same picture."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from style_match.data.fingerprints import Fingerprints
from style_match.data.images import COLOUR_POLICY, DECODE_POLICY, colour_of, decode, decode_stream
from style_match.labeling.photos import Encoding, encode


def _number(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A small ICC profile of version 2, as the specification (ICC.1:2001-04) lays it out."""
    text = b"small\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + b"\0" * 78,
        b"cprt": b"text\0\0\0\0x\0",
        b"wtpt": b"XYZ \0\0\0\0" + b"".join(map(_number, (0.9642, 1, 0.8249))),
        **tags,
    }
    offset, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        value += b"\0" * (-len(value) % 4)
        table += name + struct.pack(">II", offset + len(body), len(value))
        body += value
    head = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02100000, b"mntr", space, b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + b"".join(map(_number, (0.9642, 1, 0.8249))) + b"\0" * 48
    return head + table + body


def _gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256)) + b"\0\0"


ADOBE = _profile(
    b"RGB ",
    {
        name: b"XYZ \0\0\0\0" + b"".join(map(_number, values))
        for name, values in {
            b"rXYZ": (0.60974, 0.31111, 0.01947),
            b"gXYZ": (0.20528, 0.62567, 0.06087),
            b"bXYZ": (0.14919, 0.06322, 0.74457),
        }.items()
    }
    | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _gamma(563 / 256)),
)
GRAY = _profile(b"GRAY", {b"kTRC": _gamma(1.8)})
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def picture() -> Image.Image:
    coarse = np.random.default_rng(0).integers(60, 200, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 48), Image.Resampling.BICUBIC)


def adobe(picture: Image.Image) -> Image.Image:
    to = ImageCms.ImageCmsProfile(io.BytesIO(ADOBE))
    return ImageCms.profileToProfile(picture, ImageCms.createProfile("sRGB"), to, outputMode="RGB")


def saved(image: Image.Image, profile: bytes | None, kind: str = "PNG", **options) -> bytes:
    content, image = io.BytesIO(), image.copy()
    image.info.pop("icc_profile", None)  # Pillow's own conversion leaves one
    image.save(content, kind, **({"icc_profile": profile} if profile else {}), **options)
    return content.getvalue()


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(decode(content, max_source_pixels=10**9)).astype(int)


def decode_policy(content: bytes) -> str:
    return COLOUR_POLICY if colour_of(Image.open(io.BytesIO(content))).transform else DECODE_POLICY


def differ(one: np.ndarray, other: np.ndarray) -> float:
    return np.abs(one - np.asarray(other).astype(int)).mean()


@pytest.mark.parametrize(
    ("kind", "options"),
    [("PNG", {}), ("JPEG", {"quality": 100, "subsampling": 0}), ("WEBP", {"lossless": True}), ("TIFF", {})],
)
def test_the_same_picture(picture: Image.Image, kind: str, options: dict) -> None:
    content = saved(adobe(picture), ADOBE, kind, **options)
    assert differ(pixels(content), picture) < 1.5 < 4 < differ(pixels(saved(adobe(picture), None, kind)), picture)
    assert decode_policy(content) == COLOUR_POLICY != DECODE_POLICY


def test_transparent_and_with_a_palette(picture: Image.Image) -> None:
    clear = adobe(picture)
    clear.putalpha(Image.linear_gradient("L").resize(picture.size))
    expected = picture.copy()
    expected.putalpha(clear.getchannel("A"))
    over_white = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), expected).convert("RGB")
    assert differ(pixels(saved(clear, ADOBE)), over_white) < 1
    few = adobe(picture).quantize(16)
    plain = few.convert("RGB")
    assert differ(pixels(saved(few, ADOBE)), pixels(saved(plain, ADOBE))) == 0


def test_gray_and_sixteen_bits() -> None:
    ramp = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (4, 1)))
    found = pixels(saved(ramp, GRAY))
    light = (np.arange(256) / 255) ** 1.8  # through the curve of IEC 61966-2-1
    wanted = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055) * 255
    assert np.abs(found[0, :, 0] - wanted).max() <= 2 and (found[..., 0] == found[..., 2]).all()
    deep = Image.fromarray(np.tile(np.arange(256, dtype=np.uint16) * 257, (4, 1)))
    assert differ(pixels(saved(deep, GRAY)), found) == 0


def test_cmyk() -> None:
    image = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    profile = _profile(b"CMYK", {})  # without the table that it needs
    content = saved(image, profile, "JPEG")
    assert (
        decode_policy(content) == DECODE_POLICY and "cannot be read" in colour_of(Image.open(io.BytesIO(content))).fault
    )


@pytest.mark.parametrize("profile", [None, SRGB, b"no profile", ADOBE[:200], GRAY, _profile(b"CMYK", {})])
def test_without_a_profile_that_changes_colours_pixels_and_policy_stay(
    picture: Image.Image, profile: bytes | None
) -> None:
    content = saved(picture, profile)
    assert decode_policy(content) == DECODE_POLICY
    assert (pixels(content) == np.asarray(picture)).all()
    fault = colour_of(Image.open(io.BytesIO(content))).fault
    assert bool(fault) == (profile not in (None, SRGB))


def test_the_policy_of_old_rows_is_as_it_was() -> None:
    assert DECODE_POLICY == (
        "rgb8; first frame; exif upright; alpha over white; gray16/257; adobe cmyk; no colour profile; v1"
    )


def test_an_image_in_memory_and_a_labelled_photo(picture: Image.Image) -> None:
    opened = Image.open(io.BytesIO(saved(adobe(picture), ADOBE)))
    assert differ(np.asarray(decode_stream(opened, "x", max_source_pixels=10**9)).astype(int), picture) < 1
    encoding = Encoding(max_side_px=64, jpeg_quality=95, max_source_pixels=10**9)
    contents = saved(adobe(picture), ADOBE), saved(picture, None)
    sent, same = (Image.open(io.BytesIO(encode(each, encoding))) for each in contents)
    assert "icc_profile" not in sent.info and differ(np.asarray(sent).astype(int), same) < 1.5


def test_facts_are_remembered(picture: Image.Image, tmp_path: Path) -> None:
    contents = {
        "adobe": saved(adobe(picture), ADOBE),
        "broken": saved(picture, b"no profile"),
        "none": saved(picture, None),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for _ in range(2):
        fingerprints = Fingerprints(tmp_path / "memo.sqlite")
        facts = {name: fingerprints.photo(tmp_path / name) for name in contents}
        fingerprints.close()
        assert [each.decode_policy for each in facts.values()] == [COLOUR_POLICY, DECODE_POLICY, DECODE_POLICY]
        assert [bool(each.colour_fault) for each in facts.values()] == [False, True, False]
