import networkx
from hypothesis import given
from hypothesis import strategies as st

from style_match.evaluation.clusters import connected


@given(st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15))))
def test_clusters_are_the_connected_components(pairs):
    numbers = connected(pairs)
    groups = [{node for node in numbers if numbers[node] == number} for number in set(numbers.values())]
    expected = list(networkx.connected_components(networkx.Graph(pairs)))
    assert sorted(map(sorted, groups)) == sorted(map(sorted, expected))
    assert sorted(set(numbers.values())) == list(range(len(groups)))


def test_a_long_chain():
    numbers = connected((i, i + 1) for i in range(50_000))
    assert set(numbers.values()) == {0}
