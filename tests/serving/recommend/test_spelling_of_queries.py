"""A query finds its profile or photo whatever form it is typed in."""

import unicodedata
from dataclasses import replace

import pytest

from style_match.serving.recommend import Candidates
from style_match.utils.errors import UserError

from .test_query import ask, matcher


@pytest.fixture
def people(profiles):
    found = profiles(6)
    ids = ("여é0", *found.profile_ids[1:])
    return replace(
        found, profile_ids=ids, columns=tuple({"이름": name} for name in ("김민지", "이", "이", "박", "", "김"))
    )


@pytest.mark.parametrize("typed", ["여é0", unicodedata.normalize("NFD", "여é0"), " 여é0\u200b"])
def test_an_id(people, typed):
    assert ask(matcher(), typed, people, side=None, metadata=None).row == 0


def test_an_id_in_other_capitals_names_both(people):
    with pytest.raises(UserError, match=r"query=P001: there is no such profile .* Did you mean p001\?"):
        ask(matcher(), "P001", people, side=None, metadata=None)


def test_a_photo(people, tmp_path):
    (tmp_path / unicodedata.normalize("NFD", "사진.jpg")).write_bytes(b"")
    with pytest.raises(UserError, match="reads metadata"):  # so the photo was found
        ask(matcher(metadata=1), str(tmp_path / "사진.jpg"), people, side="male", metadata=None)


def test_where(people):
    where = unicodedata.normalize("NFD", "이름 in ['김민지', '박']")
    assert Candidates(people, where).filtered.tolist() == [True, False, False, True, False, False]
