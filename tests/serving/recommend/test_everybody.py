"""Everybody at once: ranks both ways, a bound on exposure, and the spread of the lists, against loops."""

from collections import Counter

import numpy as np
import pytest

from style_match.serving.mutual import Pairs, gini, mutual_best, recommend_to_all, spread
from style_match.serving.recommend import Candidates, Query
from style_match.utils.errors import UserError
from tests.serving.recommend import by_loops

OPTIONS = {"k": 3, "mode": "similar", "exposure_cap": None, "max_pairs": 10**6, "index": None}


@pytest.mark.parametrize("sides", [True, False])
@pytest.mark.parametrize("where", [None, "age < 24 and not city == 'Seoul'"])
def test_the_nearest_of_everybody_are_those_of_a_loop(profiles, sides, where):
    found = profiles(17, sides=sides)
    candidates = Candidates(found, where)
    wanted = [by_loops.ranking(found, user, candidates.filtered)[:2] for user in range(17)]
    for cap in (None, 99):  # by the index, and by all pairs
        assert recommend_to_all(candidates, **OPTIONS | {"k": 2, "exposure_cap": cap})[0] == wanted


@pytest.mark.parametrize("sides", [True, False])
@pytest.mark.parametrize("where", [None, "age >= 22"])
def test_mutual_lists_are_those_of_a_loop_for_all_and_for_one(profiles, sides, where):
    found = profiles(14, seed=1, sides=sides)
    candidates = Candidates(found, where)
    lists, _ = recommend_to_all(candidates, **OPTIONS | {"mode": "mutual"})
    wanted = [by_loops.mutual_ranking(found, user, candidates.filtered)[:3] for user in range(14)]
    assert lists == wanted
    for user in range(14):
        one = mutual_best(Query.of_profile(found, user), candidates, k=3)
        assert [found.row_of[profile_id] for profile_id, *_ in one] == wanted[user]
        for profile_id, score, there, back in one:
            row = found.row_of[profile_id]
            assert score == pytest.approx(by_loops.cosine(found, user, row), abs=1e-12)
            assert by_loops.ranking(found, user, candidates.filtered)[there - 1] == row
            assert by_loops.ranking(found, row, [True] * 14)[back - 1] == user


@pytest.mark.parametrize("sides", [True, False])
def test_a_stranger_ranks_behind_the_profiles_that_are_as_similar(profiles, sides):
    """p003 and p005 have one vector; a stranger with the same one ranks behind both with everybody."""
    found = profiles(12, sides=sides)
    stranger = Query("photo.jpg", found.embeddings[3], side=1 if sides else -1)
    backs = {one: back for one, _, _, back in mutual_best(stranger, Candidates(found, None), k=6)}
    assert len(backs) == 6
    for profile_id, back in backs.items():
        row = found.row_of[profile_id]
        rivals = [other for other in range(12) if by_loops.paired(found, row, other)]
        cosine = by_loops.cosine(found, row, 3)
        assert back == 1 + sum(by_loops.cosine(found, row, other) >= cosine for other in rivals)


@pytest.mark.parametrize("sides", [True, False])
@pytest.mark.parametrize("mode", ["similar", "mutual"])
@pytest.mark.parametrize("cap", [1, 2, 4])
def test_no_profile_is_in_more_lists_than_the_cap_and_the_lists_are_those_of_a_loop(profiles, sides, mode, cap):
    found = profiles(12, seed=2, sides=sides)
    candidates = Candidates(found, None)
    lists, _ = recommend_to_all(candidates, **OPTIONS | {"mode": mode, "exposure_cap": cap})
    assert max(Counter(row for rows in lists for row in rows).values()) <= cap
    pairs = Pairs(candidates, max_pairs=10**6)
    ranking = by_loops.ranking if mode == "similar" else by_loops.mutual_ranking
    orders = [ranking(found, user, candidates.filtered) for user in range(12)]

    def key(user, row):
        return *pairs.key(mode, user, row), found.profile_ids[user], found.profile_ids[row]

    assert lists == by_loops.capped(orders, key, 3, cap)


def test_the_spread_is_what_counting_gives(profiles):
    found = profiles(15, seed=4)
    candidates = Candidates(found, "age < 25")
    lists, spreads = recommend_to_all(candidates, **OPTIONS | {"mode": "mutual", "exposure_cap": 3})
    assert list(spreads) == ["similar", "mutual", "mutual, cap 3"]
    one = spreads["mutual, cap 3"]
    may = {(a, b) for a in range(15) for b in by_loops.ranking(found, a, candidates.filtered)}
    candidates = {b for _, b in may}
    counts = [sum(b in rows for rows in lists) for b in sorted(candidates)]
    assert one.candidates == len(candidates) and one.recommendations == sum(map(len, lists))
    assert one.coverage == np.mean([count > 0 for count in counts])
    assert one.gini == pytest.approx(by_loops.gini(counts))
    assert one.most == max(counts)
    assert one.mutual == sum(b in lists[a] and a in lists[b] for a in range(15) for b in range(a))
    assert one.users == sum(map(bool, lists))
    assert one.short == tuple(a for a in range(15) if any(x == a for x, _ in may) and len(lists[a]) < 3)


def test_the_spread_of_equal_of_unequal_and_of_no_lists():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(3 / 4)
    assert gini(np.array([0, 0])) == 0
    nobody = np.zeros(2, dtype=bool)
    empty = spread([[], []], nobody, nobody, 2)
    assert (empty.users, empty.coverage, empty.gini, empty.short) == (0, 0, 0, ())


@pytest.mark.parametrize(
    ("num", "where", "options", "message"),
    [
        (12, None, {"mode": "mutual", "max_pairs": 143}, r"12 x 12 are more than max_pairs=143 .*Raise it"),
        (12, "age > 99", {}, "where leaves no profile that can be recommended to another. Widen where"),
        (12, None, {"k": 7}, "k=7: at most 6 profiles can be recommended to one profile. Set k=6 or less.$"),
        (12, "age < 24", {"k": 7, "mode": "mutual"}, r"Set k=[1-5] or less, or widen where"),
        (1, None, {}, "no two of the 1 profiles in the folder can be recommended to each other"),
    ],
)
def test_what_cannot_be_recommended_to_everybody_is_refused(profiles, num, where, options, message):
    with pytest.raises(UserError, match=message):
        recommend_to_all(Candidates(profiles(num), where), **OPTIONS | options)
