"""Everybody at once: ranks both ways, a bound on exposure, and what the report says, against loops."""

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
    lists, _ = recommend_to_all(candidates, **OPTIONS | {"k": 2})
    wanted = [by_loops.ranking(found, user, candidates.filtered)[:2] for user in range(17)]
    assert lists == wanted
    matrix = Pairs.of(candidates, max_pairs=10**6)
    for user in range(17):
        assert np.argsort(matrix.rank[user], kind="stable")[:2].tolist()[: len(wanted[user])] == wanted[user]


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
@pytest.mark.parametrize("mode", ["similar", "mutual"])
@pytest.mark.parametrize("cap", [1, 2, 4])
def test_nobody_stands_in_more_lists_than_the_cap_and_the_lists_are_those_of_a_loop(profiles, sides, mode, cap):
    found = profiles(12, seed=2, sides=sides)
    candidates = Candidates(found, None)
    lists, _ = recommend_to_all(candidates, **OPTIONS | {"mode": mode, "exposure_cap": cap})
    assert max(Counter(row for rows in lists for row in rows).values()) <= cap
    pairs = Pairs.of(candidates, max_pairs=10**6)
    ranking = by_loops.ranking if mode == "similar" else by_loops.mutual_ranking
    orders = [ranking(found, user, candidates.filtered) for user in range(12)]

    def key(user, row):
        return *pairs.key(mode, user, row), found.profile_ids[user], found.profile_ids[row]

    assert lists == by_loops.capped(orders, key, 3, cap)


def test_a_cap_that_has_room_for_all_gives_everybody_a_first_one_and_names_who_is_short(profiles):
    found = profiles(12, seed=3)
    lists, spreads = recommend_to_all(Candidates(found, None), **OPTIONS | {"exposure_cap": 2})
    assert all(lists), "six profiles on each side, in two lists each, are enough for six users"
    one = spreads["similar, cap 2"]
    assert one.recommendations == 24 and one.most == 2 and one.gini == 0 and one.coverage == 1
    assert one.short == tuple(user for user, rows in enumerate(lists) if len(rows) < 3) != ()
    assert list(spreads) == ["similar", "similar, cap 2"]


def test_the_spread_is_what_counting_gives(profiles):
    found = profiles(15, seed=4)
    candidates = Candidates(found, "age < 25")
    lists, spreads = recommend_to_all(candidates, **OPTIONS | {"mode": "mutual", "exposure_cap": 3})
    assert list(spreads) == ["similar", "mutual", "mutual, cap 3"]
    one = spreads["mutual, cap 3"]
    may = {(a, b) for a in range(15) for b in by_loops.ranking(found, a, candidates.filtered)}
    candidates = {b for _, b in may}
    counts = [sum(b in rows for rows in lists) for b in sorted(candidates)]
    assert one.candidates == len(candidates)
    assert one.coverage == np.mean([count > 0 for count in counts])
    assert one.gini == pytest.approx(by_loops.gini(counts))
    assert one.most == max(counts)
    assert one.mutual == sum(b in lists[a] and a in lists[b] for a in range(15) for b in range(a))
    assert one.users == sum(map(bool, lists))
    assert one.short == tuple(a for a in range(15) if any(x == a for x, _ in may) and len(lists[a]) < 3)


def test_gini_of_equal_and_of_one_alone():
    assert gini(np.array([3, 3, 3])) == 0
    assert gini(np.array([0, 0, 0, 8])) == pytest.approx(3 / 4)
    assert gini(np.array([0, 0])) == 0


def test_a_list_of_nobody_has_no_spread():
    nobody = np.zeros(2, dtype=bool)
    empty = spread([[], []], nobody, nobody, 2)
    assert (empty.users, empty.coverage, empty.gini, empty.short) == (0, 0, 0, ())


def test_too_many_pairs_and_a_filter_that_leaves_nobody_are_refused(profiles):
    found = profiles(12)
    with pytest.raises(UserError, match=r"12 x 12 are more than max_pairs=143 .*Raise it"):
        recommend_to_all(Candidates(found, None), **OPTIONS | {"mode": "mutual", "max_pairs": 143})
    with pytest.raises(
        UserError, match=r"query=all, k=3: where leaves no profile that can be recommended to another. Widen where"
    ):
        recommend_to_all(Candidates(found, "age > 99"), **OPTIONS)


@pytest.mark.parametrize("mode", ["similar", "mutual"])
def test_a_k_above_what_anybody_could_get_is_refused(profiles, mode):
    found = profiles(12)
    lists, _ = recommend_to_all(Candidates(found, None), **OPTIONS | {"k": 6, "mode": mode})
    assert max(map(len, lists)) == 6, "the other side; p002 and p004 are one person, on one side"
    with pytest.raises(
        UserError, match=r"k=7: at most 6 profiles can be recommended to one profile. Set k=6 or less.$"
    ):
        recommend_to_all(Candidates(found, None), **OPTIONS | {"k": 7, "mode": mode})
    with pytest.raises(UserError, match=r"Set k=[1-5] or less, or widen where"):
        recommend_to_all(Candidates(found, "age < 24"), **OPTIONS | {"k": 7, "mode": mode})


def test_everybody_of_one_profile_is_told_that_there_is_nobody_else(profiles):
    found = profiles(1, sides=False)
    with pytest.raises(UserError, match="no two of the 1 profiles in the folder can be recommended to each other"):
        recommend_to_all(Candidates(found, None), **OPTIONS)
