"""`open_or_build` and what is known of all indexes."""

import json

import numpy as np
import pytest

from style_match.serving.index import storage as folders
from style_match.serving.index.folder import delete_everywhere, known_indexes, open_or_build
from style_match.serving.where import parse
from style_match.utils.errors import UserError

from .conftest import EVERY, config_of, people

KEY = "0123456789abcdef0123456789abcdef"


def opened(words, data_root, ids, vectors, cells, key=KEY, **options):
    index = open_or_build(config_of(words, **options), data_root, ids, vectors, cells, key)
    index.close() if words.startswith("qdrant") else None
    return index


@pytest.mark.parametrize("words", EVERY)
def test_an_index_is_built_once_then_brought_up_to_date(words, unlisted, capsys):
    ids, vectors, cells = people(40)
    root = unlisted / "data"
    said = []
    for chosen in (range(30), range(30), range(5, 40)):
        opened(words, root, [ids[i] for i in chosen], vectors[list(chosen)], [cells[i] for i in chosen])
        said.append(capsys.readouterr().err)
    assert "30 profiles, built" in said[0] and "30 profiles, up to date" in said[1]
    assert "10 added, 0 replaced, 5 removed" in said[2] or "built anew: 5 of 40 rows" in said[2]
    (known,) = known_indexes()
    assert known.data_root == root.resolve() and known.matcher == KEY
    assert known.folder.is_relative_to(unlisted / "cache" / "indexes")
    opened(words, root, ids, vectors, cells, key="another matcher")
    opened(words, unlisted / "other data", ids, vectors, cells)
    assert len(known_indexes()) == 3


def test_a_graph_whose_options_changed_is_built_anew(unlisted, capsys):
    ids, vectors, cells = people(40)
    for options in ({}, {"ef_search": 7}, {"m": 8}, {"m": 8}):
        index = opened("faiss kind=hnsw", unlisted, ids, vectors, cells, **options)
        assert (index.m, index.ef_search) == (options.get("m", 32), options.get("ef_search", 64))
    said = capsys.readouterr().err.splitlines()
    assert ["up to date" in line for line in said] == [False, True, False, True]
    assert "built anew: index.m was 32" in said[2]
    opened("faiss kind=hnsw", unlisted, ids, np.ascontiguousarray(np.eye(40, dtype=np.float32)), cells, m=8)
    assert "built anew: vectors were 8 wide" in capsys.readouterr().err


@pytest.mark.parametrize("words", EVERY)
def test_a_person_is_deleted_from_every_index_of_the_folder(words, unlisted):
    ids, vectors, cells = people(40, dim=32)
    cells[3]["note"] = "the only one who says so"
    opened(words, unlisted / "data", ids, vectors, cells)
    opened("exact", unlisted / "data", ids, vectors, cells, root=str(unlisted / "elsewhere"))
    opened("exact", unlisted / "other", ids, vectors, cells)
    lines = delete_everywhere(unlisted / "data", ["p003", "nobody"])
    assert [line.endswith(": 1 profiles deleted") for line in lines] == [True, True]
    for known in known_indexes():
        files = [path.read_bytes() for path in known.folder.rglob("*") if path.is_file()]
        held = any(
            secret in content for content in files for secret in (b"the only one", b"p003", vectors[3].tobytes())
        )
        assert held == (known.data_root.name == "other"), known.folder
    lines = delete_everywhere(unlisted / "data", ["p003"])
    assert [line.endswith(": 0 profiles deleted") for line in lines] == [True, True]


def test_what_cannot_be_deleted_from_is_named(unlisted):
    ids, vectors, cells = people(5)
    damaged = opened("faiss", unlisted, ids, vectors, cells)
    away = opened("exact", unlisted, ids, vectors, cells, root=str(unlisted / "mount"))
    good = opened("exact", unlisted, ids, vectors, cells)
    assert (damaged.kind, away.kind, good.kind) == ("faiss-flat", "exact", "exact")
    folders = {("mount" in known.folder.parts, known.folder.name): known.folder for known in known_indexes()}
    (folders[False, "faiss-flat"] / "manifest.json").write_text("{}")
    (unlisted / "mount").rename(unlisted / "unmounted")
    told = {line.partition(": ")[0]: line for line in delete_everywhere(unlisted, ["p001"])}
    assert "the whole index is deleted" in told[str(folders[False, "faiss-flat"])]
    assert "is not there" in told[str(folders[True, "exact"])]
    assert told[str(folders[False, "exact"])].endswith(": 1 profiles deleted")
    (unlisted / "unmounted").rename(unlisted / "mount")
    assert any(
        "mount" in line and line.endswith("1 profiles deleted") for line in delete_everywhere(unlisted, ["p001"])
    )


@pytest.mark.parametrize("at_first", [True, False])
def test_what_a_killed_writer_left_of_a_person_goes_too(at_first, unlisted, monkeypatch):
    ids, vectors, cells = people(6)
    if not at_first:
        opened("exact", unlisted, ids[:2], vectors[:2], cells[:2])

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(folders, "write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        opened("exact", unlisted, ids, vectors, cells)
    monkeypatch.undo()
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(unlisted / "cache"))
    (known,) = known_indexes()
    (known.folder / ".vectors.123.tmp").write_bytes(vectors[3].tobytes())
    delete_everywhere(unlisted, ["p003"])
    assert not [path for path in known.folder.iterdir() if vectors[3].tobytes() in path.read_bytes()]
    assert len(list(known.folder.iterdir())) == (1 if at_first else 4)


def test_a_manifest_may_name_no_code_but_this_package_s(unlisted):
    opened("exact", unlisted, *people(5))
    (known,) = known_indexes()
    manifest = folders.read_manifest(known.folder)
    files = manifest.pop("files")
    content = {**manifest, "made_by": "os.system", "files": files}
    text = json.dumps({**content, "digest": folders._digest_of(content)})
    (known.folder / "manifest.json").write_text(text)
    (line,) = delete_everywhere(unlisted, ["p001"])
    assert "NOT deleted" in line and "os.system" in line


def test_a_damaged_list_is_a_mistake_with_a_remedy(unlisted):
    opened("exact", unlisted, *people(5))
    path = unlisted / "cache" / "indexes" / "known.json"
    path.write_text("[1, 2]")
    with pytest.raises(UserError, match="the list of all indexes, cannot be read"):
        known_indexes()


def test_the_answers_of_an_opened_index_are_those_of_a_built_one(unlisted):
    ids, vectors, cells = people(30)
    for words in EVERY:
        built = open_or_build(config_of(words), unlisted, ids, vectors, cells, KEY)
        answers = built.search(vectors, 4, where=parse("gender == 'm'"))
        built.close()
        again = open_or_build(config_of(words), unlisted, ids, vectors, cells, KEY)
        assert again.search(vectors, 4, where=parse("gender == 'm'")) == answers
        again.close()
