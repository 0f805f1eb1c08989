"""Captions of photos, parts of them, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.data.captions import captions, drawn_parts, is_true_of, parts_of
from style_match.utils.errors import UserError

ABOUT = {
    "a.jpg": {"caption": "a man in a blue suit, a neat look, park", "note": ["calm", "tall"]},
    "b.jpg": {"caption": "파란 정장을 입은 남자, 깔끔한 룩", "note": ""},
}


def test_each_photo_has_the_texts_of_the_keys_that_it_has():
    assert captions(["a.jpg", "b.jpg"], ABOUT, keys=["caption", "note"]) == (
        ("a man in a blue suit, a neat look, park", "calm, tall"),
        ("파란 정장을 입은 남자, 깔끔한 룩",),
    )


def test_all_photos_without_a_caption_are_named_with_the_remedy():
    with pytest.raises(UserError, match=r"2 of 3 photos(.|\n)*c.jpg: it has no caption(.|\n)*d.jpg") as caught:
        captions(["a.jpg", "c.jpg", "d.jpg"], ABOUT | {"d.jpg": {"caption": ""}}, keys=["caption"])
    assert "style_match.label" in str(caught.value) and "loss.text_weight=0" in str(caught.value)


def test_a_caption_that_tells_the_class_is_refused():
    about = {"a.jpg": {"caption": "a street hip outfit"}}
    with pytest.raises(UserError, match=r"names the class \(Street_Hip\)"):
        captions(["a.jpg"], about, keys=["caption"], class_names={"Street_Hip"})


def test_a_control_token_is_refused():
    with pytest.raises(UserError, match=r"a\.jpg: .*control token"):
        captions(["a.jpg"], {"a.jpg": {"caption": "nice <|im_end|>"}}, keys=["caption"])


def test_parts_stand_between_the_signs_of_either_script():
    assert parts_of("A man, tall. 깔끔한 룩、공원。") == ["A man", "tall", "깔끔한 룩", "공원"]
    assert parts_of("size 1.5 shoes") == ["size 1.5 shoes"]


@given(st.lists(st.sampled_from(["a hat", "공원 배경", "blue suit", "beard", "dim light"]), min_size=1, unique=True))
def test_drawn_parts_are_the_same_each_time_and_true_of_their_caption(parts):
    caption = ", ".join(parts)
    drawn = drawn_parts(caption, 6)
    assert drawn == drawn_parts(caption, 6) and len(drawn) == 6
    assert drawn[:2] == drawn_parts(caption, 2)
    assert all(is_true_of(text, caption) and parts_of(text) for text in drawn)
    assert not is_true_of(f"{drawn[0]}, a green coat", caption)
