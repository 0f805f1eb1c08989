"""Searching by texts: what is searched, and where there are no captions."""

from types import SimpleNamespace

import pytest

from style_match.serving.text import refuse_too_many, text_vectors
from style_match.utils.errors import UserError

OPTIONS = {"features_root": None, "show_progress": False}


@pytest.fixture
def matcher():
    """Of texts, with a folder of two photos, one without a caption."""
    photos = tuple(SimpleNamespace(image=name, profile_id=name[0]) for name in ("a.jpg", "b.jpg"))
    folder = SimpleNamespace(photos=photos, metadata={"a.jpg": {"caption": "a red coat"}})
    about = {"task": "style", "text": {"options": {"attributes": ["caption"]}}}
    return SimpleNamespace(
        folder=SimpleNamespace(about=about), inputs=lambda *_, **__: SimpleNamespace(folder=folder), dim=6
    )


@pytest.mark.parametrize("path", ["caption", "both"])
def test_a_folder_without_captions_is_told_of_the_photos_alone(matcher, profiles, path):
    with pytest.raises(UserError) as told:
        text_vectors(matcher, profiles(2), "people", path=path, **OPTIONS)
    said = str(told.value)
    assert said.startswith(f"path={path} searches the captions too: write path=image to search the photos alone")
    assert "No caption can be read for 1 of 2 photos:\nb.jpg: it has no caption" in said
    assert "text." not in said and "loss." not in said, "no option of training"


def test_the_photos_alone_need_no_captions(matcher, profiles):
    found = profiles(2)
    assert text_vectors(matcher, found, "people", path="image", **OPTIONS) is found


@pytest.mark.parametrize(("k", "where"), [(0, None), (7, None), (4, "age < 23"), (1, "age > 99")])
def test_more_profiles_than_there_are_cannot_be_found(profiles, k, where):
    left = {None: "there are 6", "age < 23": "where leaves 3 of 6", "age > 99": "where leaves 0 of 6"}[where]
    remedy = {None: "write k from 1 to 6", "age < 23": "write k from 1 to 3", "age > 99": "widen where"}[where]
    with pytest.raises(UserError, match=f"query=a hat, k={k}: {left} profiles; {remedy}"):
        refuse_too_many(profiles(6), "a hat", k, where)
