from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from style_match.reporting.groups import hubness, k_occurrence
from style_match.utils.errors import UserError

IDS = list("abcdefg")


@given(st.lists(st.permutations(IDS), min_size=1, max_size=12), st.integers(1, 7))
def test_occurrences_and_their_skewness_are_those_written_out(answers, k):
    counts = Counter(profile for row in answers for profile in row[:k])
    assert dict(zip(IDS, k_occurrence(answers, IDS, k=k), strict=True)) == {p: counts[p] for p in IDS}
    found = hubness({"only": answers}, {"only": IDS}, k=k, num_top=3)
    values = np.array([counts[p] for p in IDS], dtype=float)
    spread = values - values.mean()
    moment = (spread**2).mean()
    assert found.skewness == pytest.approx((spread**3).mean() / moment**1.5 if moment > 0 else 0)
    assert found.never_count == sum(counts[p] == 0 for p in IDS) == round(found.never_share * 7)
    assert found.top == sorted(((p, counts[p]) for p in IDS), key=lambda row: (-row[1], row[0]))[:3]


def test_directions_are_counted_apart_and_joined():
    """Both galleries hold a profile of the same name: two rows."""
    answers = {"left_to_right": [["x", "y"], ["x", "z"]], "right_to_left": [["x", "v"], ["w", "x"]]}
    galleries = {"left_to_right": ["x", "y", "z"], "right_to_left": ["v", "w", "x"]}
    found = hubness(answers, galleries, k=1, num_top=2)
    assert (found.k, found.gallery, found.top) == (1, 6, [("x", 2), ("w", 1)])
    assert (found.never_count, found.never_share) == (3, 0.5)


def test_answers_that_do_not_fit_are_refused():
    with pytest.raises(UserError, match="Keep more"):
        k_occurrence([["a", "b"], ["a"]], IDS, k=2)
    with pytest.raises(ValueError, match="not in the gallery"):
        k_occurrence([["q"]], IDS, k=1)
    with pytest.raises(ValueError, match="twice"):
        k_occurrence([["a"]], ["a", "a"], k=1)
    with pytest.raises(ValueError, match="galleries of"):
        hubness({"one": []}, {"other": IDS}, k=1, num_top=1)
