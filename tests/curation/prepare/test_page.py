"""prepared.html asks nothing of the network, shows nobody unasked, and takes words of the source for text."""

import re
from html import unescape

import pytest
from omegaconf import OmegaConf

from style_match.curation.page import histogram, page

from .sources import HEADER, jpeg, photo, read_rows, write, write_table

NASTY = '<b>x</b>"><script>alert(1)</script>'
OPTIONS = {"thumbnails": False, "thumbnail_px": 32, "max_groups": 50}


@pytest.fixture
def prepared(source, run):
    """Ids and classes that would be markup, a near copy, photos left out."""
    rows = [list(row.values()) for row in read_rows(source)]
    rows[0][0] = NASTY
    rows = [[row[0], row[1], row[2].replace("Chic", "시크 <i>"), row[3]] for row in rows]
    rows[1][3] = "Low"
    write(source / "photos/again.jpg", jpeg(photo(0), 35))
    write_table(source / "profiles.csv", HEADER, [*rows, ["again", "photos/again.jpg", "시크 <i>", "High"]])
    return run(source)


def test_the_page_is_whole_in_itself_and_escapes(prepared):
    html = page(prepared, OPTIONS)
    assert "<script" not in html and "<b>x" not in html and "<i>" not in html
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert NASTY in unescape(html) and "시크 &lt;i&gt;" in html


def test_the_page_counts_classes_copies_and_what_is_left_out(prepared):
    text = " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<style>.*</style>", "", page(prepared, OPTIONS))).split())
    assert "Street 6 5" in text
    assert "visual_quality is Low: 1" in text
    assert "groups 1, profiles in them 2" in text and "line 3" in text


def test_photos_are_shown_only_on_request(prepared):
    assert "<img" not in page(prepared, OPTIONS)
    shown = page(prepared, OmegaConf.create({**OPTIONS, "thumbnails": True}))
    assert shown.count('<img src="data:image/jpeg;base64,') == 2


def test_bins_of_sizes_hold_every_photo_once():
    rows = histogram([64, 65, 100, 128, 5000])
    assert [(name, count) for name, count, _ in rows if count] == [("to 64", 1), ("to 128", 3), ("above 4096", 1)]
    assert histogram([]) == []
