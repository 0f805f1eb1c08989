"""Stored indexes: opened as they were, rebuilt when they cannot be used, and deleted for a person's removal."""

import importlib
import sys

import pytest

from style_match.serving.index.folder import delete_everywhere, known_indexes, open_or_build
from style_match.serving.where import parse
from style_match.utils.errors import UserError

from .conftest import KEY, STORED, config_of, people

GRAPH = "faiss kind=hnsw"


def opened(words, data_root, profiles, key=KEY, **options):
    index = open_or_build(config_of(words, **options), data_root, *profiles, key)
    index.close()
    return index


@pytest.mark.parametrize("words", STORED)
def test_a_stored_index_is_opened_as_it_was(words, unlisted, capsys):
    ids, vectors, cells = people(50)
    where = parse("gender == 'f' and not age < 30")
    found = []
    for done in ("built", "up to date"):
        index = open_or_build(config_of(words), unlisted, ids, vectors, cells, KEY)
        assert f"50 profiles, {done}" in capsys.readouterr().err
        found.append((index.search(vectors[:9], 5, where=where), index.recall))
        index.close()
    assert found[0] == found[1]


def test_exact_indexes_are_not_stored(unlisted):
    for words in ("exact", "faiss"):
        opened(words, unlisted, people(5))
    assert known_indexes() == [] and not (unlisted / "cache").exists()


def test_a_damaged_byte_is_noticed(unlisted, capsys):
    profiles = people(6)
    opened(GRAPH, unlisted, profiles)
    (known,) = known_indexes()
    path = known.folder / "graph.safetensors"
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 9):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        capsys.readouterr()
        opened(GRAPH, unlisted, profiles)
        assert "rebuilt: " in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_a_mistake(unlisted):
    (unlisted / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot be written: .* index.root=FOLDER"):
        opened(GRAPH, unlisted, people(3), root=str(unlisted / "file"))


@pytest.mark.parametrize("words, package", [("faiss", "faiss"), ("qdrant", "qdrant_client")])
def test_an_extra_that_is_not_installed_is_named(words, package, unlisted, monkeypatch):
    module = f"style_match.serving.index.{words}"
    importlib.import_module(module)
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"pip install 'style_match\[{words}\]', or set index=exact"):
        opened(words, unlisted, people(3))


@pytest.mark.parametrize("words", STORED)
def test_an_index_is_stored_for_each_matcher_and_dataset_folder(words, unlisted):
    profiles = people(4)
    opened(words, unlisted / "data", profiles)
    (known,) = known_indexes()
    assert known.data_root == (unlisted / "data").resolve()
    assert known.folder.is_relative_to(unlisted / "cache" / "indexes")
    opened(words, unlisted / "data", profiles, key="another matcher")
    opened(words, unlisted / "other data", profiles)
    assert len(known_indexes()) == 3


def test_a_graph_that_cannot_be_used_is_rebuilt(unlisted, capsys):
    profiles = people(40)
    for options in ({}, {"ef_search": 7}, {"m": 8}, {"m": 8}):
        index = opened(GRAPH, unlisted, profiles, **options)
        assert (index.m, index.ef_search) == (options.get("m", 32), options.get("ef_search", 64))
    printed = capsys.readouterr().err.splitlines()
    assert ["up to date" in line for line in printed] == [False, True, False, True]
    assert "rebuilt: m was 32, not 8" in printed[2]


@pytest.mark.parametrize("words", STORED)
def test_a_person_is_deleted_from_every_index_of_the_folder(words, unlisted):
    ids, vectors, cells = people(40, dim=32)
    cells[3]["note"] = "the only one who says so"
    for data, options in (("data", {}), ("data", {"root": str(unlisted / "elsewhere")}), ("other", {})):
        opened(words, unlisted / data, (ids, vectors, cells), **options)
    lines = delete_everywhere(unlisted / "data", ["p003", "nobody"])
    assert [line.endswith(": deleted; it is rebuilt when it is needed") for line in lines] == [True, True]
    for known in known_indexes():
        files = [path.read_bytes() for path in known.folder.rglob("*") if path.is_file()]
        held = any(vectors[3].tobytes() in content or b"p003" in content for content in files)
        assert held == (known.data_root.name == "other"), known.folder


def test_an_index_that_is_missing_does_not_block(unlisted):
    profiles = people(5)
    opened(GRAPH, unlisted, profiles)
    opened(GRAPH, unlisted, profiles, root=str(unlisted / "mount"))
    own, mounted = sorted((known.folder for known in known_indexes()), key=lambda path: "mount" in path.parts)
    (unlisted / "mount").rename(unlisted / "unmounted")
    lines = {line.partition(": ")[0]: line for line in delete_everywhere(unlisted, ["p001"])}
    assert "it does not exist; if its disk is not mounted, mount it" in lines[str(mounted)]
    assert "deleted; it is rebuilt" in lines[str(own)]
    (unlisted / "unmounted").rename(unlisted / "mount")
    assert any("mount" in line and "deleted; it is rebuilt" in line for line in delete_everywhere(unlisted, ["p001"]))
