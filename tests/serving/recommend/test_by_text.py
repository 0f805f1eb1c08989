"""Text search: where there are no captions, and more answers than profiles."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from style_match.serving.text import TextSearch, answerable
from style_match.utils.errors import UserError


@pytest.fixture
def matcher():
    """A matcher with a text path."""
    about = {"text": {"path": "image"}}
    return SimpleNamespace(
        folder=SimpleNamespace(about=about), text_options=OmegaConf.create({"attributes": ["caption"]}), dim=6
    )


@pytest.fixture
def inputs():
    """A folder of two photos, one without a caption."""
    photos = tuple(SimpleNamespace(image=name, profile_id=name[0]) for name in ("a.jpg", "b.jpg"))
    return SimpleNamespace(folder=SimpleNamespace(photos=photos, metadata={"a.jpg": {"caption": "a red coat"}}))


@pytest.mark.parametrize("path", ["caption", "both"])
def test_the_remedy_for_a_folder_without_captions_is_to_search_photos(matcher, inputs, profiles, path):
    with pytest.raises(UserError) as raised:
        TextSearch(matcher, inputs, profiles(2), path)
    message = str(raised.value)
    assert message.startswith(f"path={path} searches captions too. Set path=image to search the photos only")
    assert "No caption can be read for 1 of 2 photos:\nb.jpg: it has no caption" in message
    assert "text." not in message and "loss." not in message, "no option of training"


def test_photos_are_searched_without_captions(matcher, inputs, profiles):
    found = profiles(2)
    assert TextSearch(matcher, inputs, found).profiles is found


@pytest.mark.parametrize(("k", "where"), [(7, None), (4, "age < 23"), (1, "age > 99")])
def test_more_profiles_than_there_are_cannot_be_found(profiles, k, where):
    left = {None: "there are 6", "age < 23": "where leaves 3 of 6", "age > 99": "where leaves 0 of 6"}[where]
    remedy = {None: "Set k=6 or less.", "age < 23": "Set k=3 or less, or widen where.", "age > 99": "Widen where."}
    with pytest.raises(UserError, match=f"query=a hat, k={k}: {left} profiles to choose from. {remedy[where]}"):
        answerable(profiles(6), "a hat", k=k, where=where)


def test_no_answer_is_no_number_of_answers(profiles):
    with pytest.raises(UserError, match="k=0 must be at least 1"):
        answerable(profiles(6), "a hat", k=0, where=None)
