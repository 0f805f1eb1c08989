"""What of a photo leaves the machine: pixels, bounded, always the same bytes."""

import hashlib
import io
from dataclasses import replace

import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from style_match.data.fingerprints import PhotoFacts
from style_match.data.images import BadImage
from style_match.labeling.photos import encode, sent_size
from style_match.utils.errors import UserError
from tests.labeling.makers import ENCODING, make_request, make_schema, picture

SECRET = b"37.5665N at home"


def laden_jpeg() -> bytes:
    exif = Image.Exif()
    exif[0x010E] = SECRET.decode()
    exif[0x0112] = 6  # lies on its side
    exif.get_ifd(0x8825)[2] = (37.0, 33.0, 59.0)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return picture(0, (200, 100), exif=exif, icc_profile=profile, comment=SECRET, xmp=b"<x>" + SECRET + b"</x>")


def laden_png() -> bytes:
    words = PngInfo()
    words.add_text("Comment", SECRET.decode())
    content = io.BytesIO()
    Image.new("RGBA", (100, 200), (9, 9, 9, 128)).save(content, format="PNG", pnginfo=words)
    return content.getvalue()


def markers(jpeg: bytes) -> list[int]:
    """The segment types of a JPEG before its pixels."""
    found, place = [], 2
    while jpeg[place + 1] != 0xDA:
        found.append(jpeg[place + 1])
        place += 2 + int.from_bytes(jpeg[place + 2 : place + 4])
    return found


@pytest.mark.parametrize("make", [laden_jpeg, laden_png])
def test_nothing_but_pixels_is_sent(make):
    source = make()
    assert SECRET in source
    sent = encode(source, ENCODING)
    assert SECRET not in sent
    application_or_comment = [marker for marker in markers(sent) if 0xE1 <= marker <= 0xEF or marker == 0xFE]
    assert application_or_comment == []
    image = Image.open(io.BytesIO(sent))
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 64))  # the JPEG is turned upright
    assert not image.getexif() and "icc_profile" not in image.info and "comment" not in image.info
    assert encode(source, ENCODING) == sent


def test_small_photos_are_not_enlarged_and_large_ones_are_bounded():
    for size, sent in (((24, 16), (24, 16)), ((640, 8), (64, 1)), ((100, 90), (64, 58))):
        assert Image.open(io.BytesIO(encode(picture(1, size), ENCODING))).size == sent
        assert sent_size(PhotoFacts("", *size, ok=True, fault=""), ENCODING) == sent


def test_a_request_gives_the_bytes_of_its_photo_only(tmp_path):
    path, content = tmp_path / "a.jpg", picture(2)
    path.write_bytes(content)
    request = make_request(hashlib.sha256(content).hexdigest(), make_schema(), photo=path)
    assert request.jpeg() == encode(content, ENCODING)
    path.write_bytes(picture(3))
    with pytest.raises(UserError, match="has changed since the start"):
        request.jpeg()
    path.unlink()
    with pytest.raises(UserError, match="cannot be read"):
        request.jpeg()


def test_bad_photos_are_named():
    with pytest.raises(BadImage, match="is damaged or cut off"):
        encode(picture(1)[:200], ENCODING)


def test_all_that_decides_an_answer_is_in_the_key_and_nothing_else():
    schema = make_schema()
    base = make_request("a" * 64, schema)
    same = [
        make_request("a" * 64, make_schema(), images=("other.jpg",), photo=base.photo / "moved"),
        make_request("a" * 64, schema, encoding=replace(base.encoding, max_source_pixels=5)),
    ]
    others = [
        make_request("b" * 64, schema),
        make_request("a" * 64, schema, facts=replace(base.facts, is_converted=True)),
        make_request("a" * 64, make_schema(leave_out=["caption"])),
        make_request("a" * 64, make_schema("couple")),
        make_request("a" * 64, schema, instructions=schema.instructions("ko")),
        make_request("a" * 64, schema, text=schema.text("ko")),
        make_request("a" * 64, schema, labeler={"model": "n"}),
        make_request("a" * 64, schema, encoding=replace(base.encoding, max_side_px=65)),
        make_request("a" * 64, schema, encoding=replace(base.encoding, jpeg_quality=84)),
    ]
    assert {request.key for request in same} == {base.key}
    assert len({request.key for request in [base, *others]}) == 1 + len(others)
