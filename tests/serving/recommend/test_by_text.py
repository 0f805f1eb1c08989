"""Text search: profiles of both sides, photos without captions, and more answers than profiles."""

from types import SimpleNamespace

import pytest
from omegaconf import OmegaConf

from style_match.serving.text import TextSearch
from style_match.utils.errors import UserError


@pytest.fixture
def search(profiles):
    """`search(path, num)`: text search among profiles, of which only the first has a caption."""

    def make(path: str | None = None, num: int = 2) -> TextSearch:
        found = profiles(num)
        matcher = SimpleNamespace(
            folder=SimpleNamespace(about={"text": {"path": "image"}}),
            text_options=OmegaConf.create({"attributes": ["caption"]}),
            dim=6,
            encode_text=lambda text: found.embeddings[:1],
        )
        photos = tuple(SimpleNamespace(image=name, profile_id=name[0]) for name in ("a.jpg", "b.jpg"))
        folder = SimpleNamespace(photos=photos, metadata={"a.jpg": {"caption": "a red coat"}})
        return TextSearch(matcher, SimpleNamespace(folder=folder), found, path)

    return make


@pytest.mark.parametrize("path", ["caption", "both"])
def test_the_remedy_for_a_folder_without_captions_is_to_search_photos(search, path):
    with pytest.raises(UserError) as raised:
        search(path)
    message = str(raised.value)
    assert message.startswith(f"path={path} searches captions too. Set path=image to search the photos only")
    assert "No caption can be read for 1 of 2 photos:\nb.jpg: it has no caption" in message
    assert "text." not in message and "loss." not in message, "no option of training"


def test_profiles_of_both_sides_are_found_in_the_photos(search):
    found = search(num=6).find("a hat", k=6)
    assert found[0] == ("p000", pytest.approx(1)) and {one for one, _ in found} == {f"p00{row}" for row in range(6)}
    assert [one for one, _ in search(num=6).find("a hat", k=1, where="age == 23")] == ["p003"]


@pytest.mark.parametrize(
    ("k", "where", "message"),
    [
        (0, None, "k=0 must be at least 1"),
        (7, None, "query=a hat, k=7: there are 6 profiles to choose from. Set k=6 or less."),
        (4, "age < 23", "where leaves 3 of 6 profiles to choose from. Set k=3 or less, or widen where."),
        (1, "age > 99", "where leaves 0 of 6 profiles to choose from. Widen where."),
    ],
)
def test_more_profiles_than_there_are_cannot_be_found(search, k, where, message):
    with pytest.raises(UserError, match=message):
        search(num=6).find("a hat", k=k, where=where)
