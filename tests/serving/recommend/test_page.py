"""The page of recommendations: what it shows of photos."""

import base64
import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from style_match.serving.output import page
from style_match.serving.recommend import Query
from style_match.utils.errors import UserError

ABOUT = {"query": "p000", "matcher": "m", "data": "d", "profiles": 2, "num_users": 1, "k": 1}
ABOUT |= {"mode": "similar", "cap": None, "where": None, "synthetic": False}


@pytest.fixture
def shown(profiles, tmp_path):
    """`shown(reads_photos)` is the page of the second of two profiles recommended to the first."""
    found = profiles(2)
    files = tuple((str(tmp_path / names[0]),) for names in found.photos)
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    for (file,) in files:
        Image.new("RGB", (90, 60), "teal").save(file, "JPEG", exif=exif, comment=b"secret comment")
    found = replace(found, photos=files)
    line = {"rank": 1, "row": 1, "profile_id": "p001", "score": 0.5, "ranks": None, "columns": {}}

    def make(reads_photos: bool = True) -> str:
        options = {"about": ABOUT, "spreads": {}, "thumbnail_px": 32, "max_source_pixels": 10**6}
        return page([(Query.of_profile(found, 0), [line])], found, reads_photos=reads_photos, **options)

    return make


def test_photos_are_small_and_say_nothing_of_their_files(shown):
    pictures = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", shown())
    assert len(pictures) == 2
    for content in map(base64.b64decode, pictures):
        assert b"secret" not in content and b"Exif" not in content
        assert max(Image.open(io.BytesIO(content)).size) == 32


def test_a_photo_that_is_none_is_a_mistake_where_photos_are_read_and_is_told_where_they_are_not(
    shown, tmp_path, capsys
):
    (tmp_path / "p001.jpg").write_text("no photo")
    with pytest.raises(UserError, match=r"p001\.jpg: is not an image"):
        shown()
    assert shown(reads_photos=False).count("data:image") == 1
    assert "1 of 2 photos cannot be shown on the page, such as" in capsys.readouterr().err
