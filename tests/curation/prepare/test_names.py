"""File names of profile ids."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from style_match.curation.sources import file_stems

IDS = st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8)


@given(IDS)
@example(["a", "a+2", "a", "A", "con", ".", "..", "/", "e\u0301", "\u00e9", "ﬁ", "fi", "a" * 200, "a" * 199 + "b"])
def test_names_are_plain_and_differ_where_capitals_do_not_count(ids):
    stems = file_stems(ids)
    assert len({stem.casefold() for stem in stems}) == len(ids)
    for stem in stems:
        assert re.fullmatch(r"[\w.+-]+", stem) and not stem.startswith((".", "-")) and len(stem.encode()) <= 140


@given(IDS, IDS)
def test_a_plain_name_stays_what_it_is(ids, more):
    assert file_stems(["p1", "사람"]) == ["p1", "사람"]
    assert file_stems(ids) == file_stems(list(ids))
