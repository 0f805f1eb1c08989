"""The nearest who are allowed, found by an index."""

from dataclasses import replace

import pytest

from style_match.serving.recommend import Candidates, Query, nearest
from style_match.utils.errors import UserError


def test_an_exact_index_is_built_once_for_the_same_profiles(profiles):
    found = profiles(10)
    assert found.exact_index is found.exact_index
    fewer = replace(found, embeddings=-found.embeddings)
    assert fewer.exact_index is not found.exact_index, "others have their own"


def test_an_index_of_another_matcher_is_refused_by_both_names(profiles):
    found = profiles(10)
    queries, candidates = [Query.of_profile(found, 0)], Candidates(found, None)
    own = nearest(queries, candidates, k=2, index=found.exact_index)
    assert own == nearest(queries, candidates, k=2)
    other = replace(found, matcher="f" * 64).exact_index
    with pytest.raises(UserError, match=r"another matcher \(ffffffff\) than these profiles \(00000000\)"):
        nearest(queries, candidates, k=2, index=other)
