"""The page of recommendations: what it shows of photos."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from style_match.serving.matcher_folder import MatcherFolder
from style_match.serving.output import lines_of, page
from style_match.serving.recommend import Query

ABOUT = {"query": "p000", "matcher": "m", "data": "d", "profiles": 2, "num_users": 1, "k": 1}
ABOUT |= {"mode": "similar", "cap": None, "where": None, "synthetic": False}
MATCHER = MatcherFolder(Path("m"), {"data": {"options": {"max_source_pixels": 10**6}}})


@pytest.fixture
def shown(profiles, tmp_path):
    """`shown()` is the page of the second of two profiles recommended to the first."""
    found = profiles(2)
    files = tuple((str(tmp_path / names[0]),) for names in found.photos)
    exif = Image.Exif()
    exif[0x010E] = "secret place"
    for (file,) in files:
        Image.new("RGB", (90, 60), "teal").save(file, "JPEG", exif=exif, comment=b"secret comment")
    found = replace(found, photos=files)
    lists = [(Query.of_profile(found, 0), lines_of(found, [("p001", 0.5)]))]
    return lambda: page(lists, MATCHER, about=ABOUT, spreads={}, thumbnail_px=32)


def test_photos_are_small_and_say_nothing_of_their_files(shown):
    pictures = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", shown())
    assert len(pictures) == 2
    for content in map(base64.b64decode, pictures):
        assert b"secret" not in content and b"Exif" not in content
        assert max(Image.open(io.BytesIO(content)).size) == 32


def test_a_bad_photo_is_left_out_with_a_note(shown, tmp_path, capsys):
    (tmp_path / "p001.jpg").write_text("no photo")
    assert shown().count("data:image") == 1
    assert "1 of 2 photos cannot be shown on the page, such as" in capsys.readouterr().err
