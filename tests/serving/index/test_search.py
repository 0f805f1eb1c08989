"""What a search promises, of every index: the k best that are allowed, in one order."""

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st

from style_match.serving.index import base, exact
from style_match.serving.index.exact import Exact
from style_match.serving.where import And, Compare, Or, mask, parse
from style_match.utils.errors import UserError

from .conftest import EVERY, EXACT, KEY, config_of, people, unit


def looped(ids, vectors, queries, k, allowed, exclude):
    """The answers by a loop over all pairs, from the formula."""
    answers = []
    for query, excluded in zip(queries, exclude, strict=True):
        scored = [
            (-float(np.sum(query.astype(np.float64) * vector.astype(np.float64))), one)
            for one, vector, holds in zip(ids, vectors, allowed, strict=True)
            if holds and one not in excluded
        ]
        answers.append([(one, -score) for score, one in sorted(scored)[:k]])
    return answers


CONDITIONS = st.recursive(
    st.one_of(
        st.builds(Compare, st.just("gender"), st.sampled_from(["==", "!="]), st.sampled_from(["m", "f", "x"])),
        st.builds(
            Compare,
            st.just("age"),
            st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
            st.sampled_from([19.0, 25.0, 24.5]),
        ),
        st.builds(
            Compare,
            st.just("스타일 word"),
            st.sampled_from(["in", "not in"]),
            st.sampled_from([("깔끔한",), ("dandy", "no")]),
        ),
        st.builds(Compare, st.just("age"), st.sampled_from(["in", "not in"]), st.sampled_from([(19.0,), (20.0, 31.0)])),
    ),
    lambda inner: st.one_of(st.builds(And, st.tuples(inner, inner)), st.builds(Or, st.tuples(inner, inner))),
    max_leaves=4,
)


@pytest.mark.parametrize("words", EXACT)
@given(data=st.data(), num=st.integers(1, 40), different=st.integers(1, 40), k=st.integers(1, 12))
def test_exact_ones_answer_as_a_loop_does(words, data, num, different, k):
    """With equal vectors (ties), conditions, exclusions, k above the gallery and blocks smaller than it."""
    ids, vectors, cells = people(num, seed=different)
    ids = data.draw(st.permutations(ids))
    vectors = vectors[np.arange(num) % different]
    where = data.draw(st.none() | CONDITIONS)
    queries = np.concatenate([vectors[:2], unit(np.ones((1, 8)))])
    exclude = [data.draw(st.sets(st.sampled_from([*ids, "nobody"]), max_size=num)) for _ in queries]
    index = instantiate(config_of(words))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "QUERY_BLOCK", 2)
        patch.setattr(exact, "ROW_BLOCK", 7)
        index.build(ids, vectors, cells, KEY)
        allowed = mask(where, cells) if where else np.ones(num, bool)
        answers = index.search(queries, k, where=where, exclude=exclude)
    assert answers == looped(ids, vectors, queries, k, allowed, exclude)
    index.close()


@pytest.mark.parametrize("words", ["faiss", "faiss kind=hnsw"])
def test_faiss_answers_beside_a_package_that_replaces_its_search(words, make):
    """pytorch-metric-learning imports faiss.contrib.torch_utils, whose search takes no parameters."""
    import faiss.contrib.torch_utils

    assert "torch" in faiss.IndexFlatIP.search.__qualname__
    ids, vectors, cells = people(60)
    index = make(words)
    index.build(ids, vectors, cells, KEY)
    where = parse("gender == 'f'")
    assert index.search(vectors[:3], 5, where=where) == looped(
        ids, vectors, vectors[:3], 5, mask(where, cells), [()] * 3
    )


@pytest.mark.parametrize("words", EVERY)
def test_k_are_there_where_k_are_allowed(words, make):
    """However far away those are that a condition and the exclusions leave."""
    ids, vectors, cells = people(400, dim=16)
    cells = [{"gender": "f" if i % 50 == 0 else "m"} for i in range(400)]
    index = make(words)
    index.build(ids, vectors, cells, KEY)
    women = [one for one, own in zip(ids, cells, strict=True) if own["gender"] == "f"]
    nearest = index.search(vectors[:5], 8, where=parse("gender == 'f'"))
    assert [sorted(one for one, _ in answers) for answers in nearest] == [sorted(women)] * 5
    answers = index.search(vectors[:2], 3, where=parse("gender == 'f'"), exclude=[women[:5], women])
    assert sorted(one for one, _ in answers[0]) == sorted(women[5:]) and answers[1] == []
    everybody = index.search(vectors[:1], 1000, exclude=[["p000"]])[0]
    assert len(everybody) == 399
    assert [score for _, score in everybody] == sorted((score for _, score in everybody), reverse=True)


def test_a_graph_that_leads_nowhere_does_not_hide_who_is_allowed(make, monkeypatch):
    """Distant groups of vectors with few links: a walk ends before it has met k allowed profiles."""
    monkeypatch.setattr("style_match.serving.index.faiss.SCAN_SHARE", 0.0)
    drawn = np.random.default_rng(0)
    vectors = unit(
        np.repeat(unit(drawn.standard_normal((20, 32))), 20, axis=0) + 0.01 * drawn.standard_normal((400, 32))
    )
    ids, cells = [f"p{i:03}" for i in range(400)], [{"heap": str(i // 20)} for i in range(400)]
    index = make("faiss kind=hnsw", m=2, ef_construction=1, ef_search=1)
    index.build(ids, vectors, cells, KEY)
    for heap in range(20):
        of_heap = set(ids[20 * heap : 20 * heap + 20])
        for answers in index.search(vectors[::20], 5, where=parse(f"heap == {heap}")):
            assert len(answers) == 5 and {one for one, _ in answers} <= of_heap


@pytest.mark.parametrize("words", EXACT)
def test_scores_that_are_equal_in_float32_are_ordered(words, make):
    """200 vectors around one, whose products differ less than float32 rounds: their true order, not the BLAS's."""
    drawn = np.random.default_rng(1)
    query = unit(drawn.standard_normal((1, 64)))
    vectors = unit(query + 1e-4 * drawn.standard_normal((200, 64)))
    ids = [f"p{i:03}" for i in range(200)]
    index = make(words)
    index.build(ids, vectors, None, KEY)
    true = looped(ids, vectors, query, 10, [True] * 200, [()])
    assert len({np.float32(score) for _, score in true[0]}) < 10
    assert index.search(query, 10) == true


@pytest.mark.parametrize("words", EVERY)
def test_vectors_that_cannot_be_ordered_are_refused(words, make):
    ids, vectors, _ = people(5)
    index = make(words)
    broken = vectors.copy()
    broken[2, 0] = np.nan
    with pytest.raises(UserError, match="1 of 5 vectors have values that are not finite"):
        index.build(ids, broken, None, KEY)
    for wrong_ids, wrong in ((ids, 2 * vectors), (ids[:4], vectors), ([*ids[:4], "p000"], vectors)):
        with pytest.raises(ValueError):
            index.build(wrong_ids, wrong, None, KEY)
    index.build(ids, vectors, None, KEY)
    with pytest.raises(ValueError, match="width 8"):
        index.search(vectors[:, :7], 1)
    with pytest.raises(ValueError, match="at least 1"):
        index.search(vectors, 0)


@pytest.mark.parametrize("words", EVERY)
def test_nobody_is_found_in_an_empty_index(words, make):
    index = make(words)
    index.build([], np.empty((0, 8), np.float32), [], KEY)
    assert len(index) == 0
    assert index.search(people(2)[1], 3) == [[], []]
    index.build(*people(1), KEY)
    assert [one for one, _ in index.search(people(1)[1], 3)[0]] == ["p000"]


# A search in float32 that is as far off as float32 permits still gives the answers of float64.

ULP = 2.0**-24  # distance of float32 numbers from 0.5 to 1; the largest relative error of one float32 operation
DIM = 8


class Worst(Exact):
    """Its products are off by the largest error that a float32 sum of 8 products can have, in a direction by row."""

    ups: np.ndarray

    def _nearest(self, queries, num, allowed):
        worst = DIM * ULP / (1 - DIM * ULP)  # Higham, section 3.1
        scores = queries.astype(np.float64) @ self.vectors.T.astype(np.float64) + worst * self.ups
        order = np.argsort(-scores, axis=1)[:, :num]
        return np.take_along_axis(scores, order, axis=1), order


def test_the_nearest_is_found_although_rounding_puts_others_before_it():
    # scores with the first axis: "best" is truly the nearest, but rounding down puts it behind all others
    names = ["best", "second", *(f"other{i}" for i in range(12))]
    scores = np.array([0.75 + ULP, 0.75, *[0.75 - 14 * ULP] * 12], dtype=np.float32)
    vectors = np.zeros((len(names), DIM), np.float32)
    vectors[:, 0], vectors[:, 1] = scores, np.sqrt(1 - scores.astype(np.float64) ** 2)
    index = Worst()
    index.ups = np.array([-1.0] + [1.0] * 13)
    index.build(names, vectors, None, KEY)
    query = np.eye(1, DIM, dtype=np.float32)
    _, order = index._nearest(query, 9, None)
    assert names[order[0, 0]] == "second" and 0 not in order, "the first search misses the best"
    assert index.search(query, 1) == [[("best", 0.75 + ULP)]]
