"""Who is one person, and whom nobody may hold against a model."""

import networkx
from hypothesis import given
from hypothesis import strategies as st

from style_match.data.people import people_of
from style_match.utils.graph import connected, not_strangers

from .memory_folder import folder_of, singles


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15))))
def test_clusters_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    numbers = connected(pairs)
    groups = [{node for node in numbers if numbers[node] == number} for number in set(numbers.values())]
    expected = list(networkx.connected_components(networkx.Graph(pairs)))
    assert sorted(map(sorted, groups)) == sorted(map(sorted, expected))
    assert sorted(set(numbers.values())) == list(range(len(groups)))


def test_a_long_chain() -> None:
    numbers = connected((i, i + 1) for i in range(50_000))
    assert set(numbers.values()) == {0}


def test_a_user_id_a_photo_and_both_in_a_row_make_one_person() -> None:
    users = {"f0": "u", "m3": "u"}
    photos = {"m3.png": "same", "f1.png": "same", "f2.png": "other"}
    people = people_of(folder_of(singles(5), users=users, photo_sha256=photos))
    assert people["f0"] == people["m3"] == people["f1"], "on whichever side"
    assert len(people) == 10 and len(set(people.values())) == 8


people = st.integers(0, 6)


@given(st.lists(people), st.lists(people), st.lists(st.tuples(people, people)))
def test_only_a_person_itself_and_its_partners_are_no_strangers(
    left: list[int], right: list[int], couples: list[tuple[int, int]]
) -> None:
    either = {*couples, *((other, one) for one, other in couples)}
    wanted = [(i, j) for i, a in enumerate(left) for j, b in enumerate(right) if a == b or (a, b) in either]
    assert not_strangers(left, right, couples) == wanted
