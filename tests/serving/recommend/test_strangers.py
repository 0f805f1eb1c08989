"""One who asks with a photo or an embedding and is no profile: ties and sides."""

from dataclasses import replace

import numpy as np
import pytest

from style_match.serving.mutual import mutual_best
from style_match.serving.recommend import NOBODY, Candidates, Query
from tests.serving.recommend import by_loops


@pytest.mark.parametrize("sides", [True, False])
def test_a_stranger_ranks_behind_the_profiles_that_are_as_similar(profiles, sides):
    """p003 and p005 have one vector; a stranger with the same one ranks behind both with everybody."""
    found = profiles(12, sides=sides)
    side = 1 if sides else -1
    stranger = Query("photo.jpg", found.embeddings[3], NOBODY, side)
    backs = {one: back for one, _, _, back in mutual_best(stranger, Candidates(found, None), k=6)}
    assert len(backs) == 6
    for profile_id, back in backs.items():
        row = found.row_of[profile_id]
        rivals = [other for other in range(12) if by_loops.paired(found, row, other)]
        if row not in (3, 5):
            assert {3, 5} <= set(rivals)
        cosine = by_loops.cosine(found, row, 3)
        assert back == 1 + sum(by_loops.cosine(found, row, other) >= cosine for other in rivals)


def test_a_profile_whose_side_is_not_known_is_recommended_to_nobody(profiles):
    found = profiles(8)
    sides = found.sides.copy()
    sides[6:] = -1
    found = replace(found, sides=sides)
    candidates = Candidates(found, None)
    for row in range(6):
        assert np.flatnonzero(candidates.allowed(Query.of_profile(found, row))).tolist() == [
            other for other in range(6) if by_loops.paired(found, row, other)
        ]
