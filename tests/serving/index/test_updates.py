"""Stored indexes that are updated: the same answers as of an index that was built at once."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from style_match.serving.index.folder import known_indexes, open_or_build
from style_match.serving.index.qdrant import Qdrant
from style_match.serving.where import parse

from .conftest import KEY, STORED, config_of, people


@pytest.mark.parametrize("words", STORED)
@settings(max_examples=10)
@given(data=st.data())
def test_any_history_ends_as_if_built_at_once(words, data, tmp_path_factory):
    root = tmp_path_factory.mktemp("history")
    ids, vectors, cells = people(24)
    other = people(24, seed=1)[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STYLE_MATCH_CACHE", str(root / "cache"))
        for _ in range(data.draw(st.integers(1, 4))):
            chosen = data.draw(st.lists(st.integers(0, 23), unique=True, max_size=24))
            rows = np.where(data.draw(st.lists(st.booleans(), min_size=24, max_size=24)), 1, 0)
            held = np.where(rows[:, None], other, vectors)[chosen]
            own = [cells[i] for i in chosen]
            index = open_or_build(config_of(words), root, [ids[i] for i in chosen], held, own, KEY)
            true = open_or_build(config_of("exact"), root, [ids[i] for i in chosen], held, own, KEY)
            for where in (None, parse("gender == 'm'")) if chosen else (None,):
                assert index.search(vectors[:3], 30, where=where) == true.search(vectors[:3], 30, where=where)
            index.close()


@pytest.mark.parametrize("words", STORED)
def test_an_update_changes_only_the_profiles_that_differ(words, unlisted, capsys, monkeypatch):
    ids, vectors, cells = people(30)
    open_or_build(config_of(words), unlisted, ids, vectors, cells, KEY).close()
    open_or_build(config_of(words), unlisted, ids, vectors, cells, KEY).close()
    assert "30 profiles, up to date" in capsys.readouterr().err
    vectors, cells = vectors.copy(), [dict(own) for own in cells]
    vectors[3], cells[4]["age"] = -vectors[3], "99"
    order = [*range(29, 1, -1)]  # without the first two, with a new one
    names = [*(ids[i] for i in order), "new"]
    rows = np.concatenate([vectors[order], vectors[:1]])
    changed = [*(cells[i] for i in order), {"gender": "f", "first seen": "today"}]
    upserted, call = [], Qdrant._call

    def counted(self, method, **arguments):
        upserted.extend(point.payload["id"] for point in arguments["points"]) if method == "upsert" else None
        return call(self, method, **arguments)

    monkeypatch.setattr(Qdrant, "_call", counted)
    monkeypatch.setattr("style_match.serving.index.faiss.REBUILD_SHARE", 0.2)
    index = open_or_build(config_of(words), unlisted, names, rows, changed, KEY)
    if words == "qdrant":
        assert "1 added, 2 replaced, 2 removed" in capsys.readouterr().err
        assert sorted(upserted) == ["new", "p003", "p004"]
    else:  # a graph holds no cells
        assert "2 added, 3 removed" in capsys.readouterr().err
    assert [one for one, _ in index.search(vectors[4:5], 30, where=parse("age == 99"))[0]] == ["p004"]
    assert [one for one, _ in index.search(vectors[4:5], 30, where=parse("`first seen` == 'today'"))[0]] == ["new"]
    assert index.search(vectors[3:4], 1)[0][0][0] == "p003"
    assert {one for one, _ in index.search(vectors[:1], 100)[0]} == set(names)
    index.close()


def test_a_graph_keeps_nothing_of_removed_profiles_and_is_rebuilt_when_they_are_many(unlisted, capsys):
    ids, vectors, cells = people(200, dim=16)

    def left(num: int):
        index = open_or_build(config_of("faiss kind=hnsw"), unlisted, ids[num:], vectors[num:], cells[num:], KEY)
        return index, capsys.readouterr().err

    index, _ = left(0)
    assert index.recall["k"] == 10 and index.recall["queries"] == 200 and index.recall["value"] > 0.9
    index, printed = left(19)
    assert "0 added, 19 removed" in printed
    (known,) = known_indexes()
    content = (known.folder / "graph.safetensors").read_bytes()
    assert not any(vector.tobytes() in content for vector in vectors[:19])
    assert all(vector.tobytes() in content for vector in vectors[19:])
    found = index.search(vectors[:19], 181)
    assert all({one for one, _ in answers} == set(ids[19:]) for answers in found)
    index, printed = left(18)
    assert "1 added, 0 removed" in printed and index.search(vectors[18:19], 1)[0][0][0] == "p018"
    assert "rebuilt: 21 of 201 rows were removed" in left(20)[1]


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
