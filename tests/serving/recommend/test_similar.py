"""The nearest who are allowed, found by an index."""

from dataclasses import replace

import pytest

from style_match.serving.query import Allowed, profile
from style_match.serving.recommend import best, exact_index
from style_match.utils.errors import UserError


def test_an_exact_index_is_built_once_for_the_same_profiles(profiles):
    found = profiles(10)
    assert exact_index(found) is exact_index(found)
    fewer = replace(found, embeddings=-found.embeddings)
    assert exact_index(fewer) is not exact_index(found), "others have their own"


def test_an_index_of_another_matcher_is_refused_by_both_names(profiles):
    found = profiles(10)
    asked, allowed = [profile(found, 0)], Allowed(found, None)
    own = best(asked, found, allowed, k=2, index=exact_index(found))
    assert own == best(asked, found, allowed, k=2, index=None)
    other = exact_index(replace(found, matcher="f" * 64))
    with pytest.raises(UserError, match=r"another matcher \(ffffffff\), not of .* \(00000000\)"):
        best(asked, found, allowed, k=2, index=other)
