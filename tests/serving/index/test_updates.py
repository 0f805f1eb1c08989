"""Adding and removing profiles: the same answers as of an index that was built with what is left."""

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st

from style_match.serving.where import parse

from .conftest import EVERY, EXACT, KEY, config_of, people


@pytest.mark.parametrize("words", EXACT)
@given(data=st.data())
def test_any_history_ends_as_if_built_at_once(words, data):
    ids, vectors, cells = people(24)
    other = people(24, seed=1)[1]
    index, fresh = instantiate(config_of(words)), instantiate(config_of(words))
    start = data.draw(st.integers(0, 10))
    index.build(ids[:start], vectors[:start], cells[:start], KEY)
    held = {ids[i]: (vectors[i], cells[i]) for i in range(start)}
    for _ in range(data.draw(st.integers(0, 4))):
        chosen = data.draw(st.lists(st.integers(0, 23), unique=True, max_size=8))
        names = [ids[i] for i in chosen]
        if data.draw(st.booleans()):
            assert index.delete(names) == sum(name in held for name in names)
            held = {name: profile for name, profile in held.items() if name not in names}
        else:
            rows = data.draw(st.sampled_from([vectors, other]))
            index.upsert(names, rows[chosen], [cells[i] for i in chosen])
            held |= {ids[i]: (rows[i], cells[i]) for i in chosen}
    left = np.array([vector for vector, _ in held.values()], np.float32).reshape(-1, 8)
    fresh.build(list(held), left, [own for _, own in held.values()], KEY)
    assert len(index) == len(held)
    assert index.digests() == fresh.digests()
    where = parse("gender == 'm'") if held else None
    for condition in (None, where):
        assert index.search(vectors[:3], 5, where=condition) == fresh.search(vectors[:3], 5, where=condition)
    index.close(), fresh.close()


@pytest.mark.parametrize("words", EVERY)
def test_an_update_touches_only_what_differs(words, make, monkeypatch):
    ids, vectors, cells = people(30)
    index = make(words)
    index.build(ids, vectors, cells, KEY)
    assert not index.update(ids, vectors, cells)
    changed = vectors.copy()
    changed[3] = -changed[3]
    cells = [dict(own) for own in cells]
    cells[4]["age"] = "99"
    upserted, upsert = [], index.upsert
    monkeypatch.setattr(index, "upsert", lambda ids, *rest: (upserted.extend(ids), upsert(ids, *rest)))
    order = [*range(29, 1, -1)]  # without the first two, with a new one
    names = [*(ids[i] for i in order), "new"]
    rows = np.concatenate([changed[order], vectors[:1]])
    done = index.update(names, rows, [*(cells[i] for i in order), {"gender": "f", "first seen": "today"}])
    assert done == "1 added, 2 replaced, 2 removed"
    assert sorted(upserted) == ["new", "p003", "p004"]
    assert [one for one, _ in index.search(vectors[4:5], 30, where=parse("age == 99"))[0]] == ["p004"]
    assert [one for one, _ in index.search(vectors[4:5], 30, where=parse("`first seen` == 'today'"))[0]] == ["new"]
    assert index.search(-vectors[3:4], 1)[0][0][0] == "p003"
    assert {one for one, _ in index.search(vectors[:1], 100)[0]} == set(names)


def test_a_graph_keeps_nothing_of_removed_profiles_and_is_rebuilt_when_they_are_many(make):
    ids, vectors, cells = people(200, dim=16)
    index = make("faiss kind=hnsw", rebuild_share=0.1)
    index.build(ids, vectors, cells, KEY)
    assert index.recall["k"] == 10 and index.recall["queries"] == 200 and index.recall["value"] > 0.9
    assert index.delete(ids[:19]) == 19
    assert index.rebuild_reason is None
    index.delete(ids[19:20])
    assert "20 of 200 rows" in index.rebuild_reason
    assert not index.vectors[:20].any()
    assert not {cell for column in index.columns.values() for cell in column[:20]} - {""}
    found = index.search(vectors[:20], 180)
    assert all({one for one, _ in answers} == set(ids[20:]) for answers in found)
    index.upsert(ids[:1], vectors[:1], cells[:1])
    assert index.search(vectors[:1], 1)[0][0][0] == "p000"


def test_the_reported_recall_is_that_of_the_answers(make):
    """A graph that examines few candidates misses some, and says how many."""
    ids, vectors = [f"p{i:05}" for i in range(3000)], people(3000, dim=64)[1]
    index, exact = make("faiss kind=hnsw", m=2, ef_construction=4, ef_search=1), make("exact")
    index.build(ids, vectors, None, KEY)
    exact.build(ids, vectors, None, KEY)
    rows = np.linspace(0, 2999, 200).astype(int)
    exclude = [[ids[row]] for row in rows]
    right = exact.search(vectors[rows], 10, exclude=exclude)
    found = index.search(vectors[rows], 10, exclude=exclude)
    hits = [len({one for one, _ in some} & {one for one, _ in true}) for some, true in zip(found, right, strict=True)]
    assert index.recall["value"] < 0.9
    assert index.recall["value"] == pytest.approx(np.mean(hits) / 10, abs=0.15)
