"""Stored indexes: opened as they were, rebuilt when they cannot be used, and emptied of a person wherever they are."""

import contextlib
import importlib
import json
import os
import sys

import numpy as np
import pytest

from style_match.serving.index import storage
from style_match.serving.index.folder import delete_everywhere, known_indexes, open_or_build
from style_match.serving.index.storage import NoIndex, Unusable
from style_match.serving.where import parse
from style_match.utils.errors import UserError

from .conftest import EVERY, KEY, config_of, people

FILES = [words for words in EVERY if words != "qdrant"]


def opened(words, data_root, profiles, key=KEY, **options):
    index = open_or_build(config_of(words, **options), data_root, *profiles, key)
    index.close()
    return index


@pytest.mark.parametrize("words", EVERY)
def test_a_stored_index_is_opened_as_it_was(words, make, tmp_path):
    ids, vectors, cells = people(50)
    index = make(words)
    index.build(ids, vectors, cells, KEY, folder=tmp_path / "index")
    index.upsert(["new"], -vectors[:1], [{"gender": "f"}])
    index.delete(["p007"])
    index.save(tmp_path / "index")
    where = parse("gender == 'f' and not age < 30")
    answers, digests = index.search(vectors[:9], 5, where=where), index.digests()
    index.close()
    again = make(words)
    again.open(tmp_path / "index", matcher=KEY)
    assert again.search(vectors[:9], 5, where=where) == answers
    assert again.digests() == digests and again.recall == index.recall
    assert len(again) == 50 and "p007" not in digests
    with pytest.raises(NoIndex):
        make(words).open(tmp_path / "nothing", matcher=KEY)


@pytest.mark.parametrize("words", FILES)
def test_a_damaged_byte_is_noticed(words, make, tmp_path):
    make(words).build(*people(6), KEY, folder=tmp_path)
    (path,) = tmp_path.glob("data-*")
    content = path.read_bytes()
    for place in range(0, len(content), len(content) // 9):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(Unusable):
            make(words).open(tmp_path, matcher=KEY)
    path.unlink()
    with pytest.raises(Unusable):
        make(words).open(tmp_path, matcher=KEY)


@pytest.mark.parametrize("words", FILES)
def test_an_interrupted_save_leaves_the_index_before_or_after(words, make, tmp_path, monkeypatch):
    ids, vectors, cells = people(20)
    make(words).build(ids[:10], vectors[:10], cells[:10], KEY, folder=tmp_path)
    replace, unlink = os.replace, os.unlink
    for step in range(1, 8):
        index = make(words)
        index.open(tmp_path, matcher=KEY)
        before = index.digests()
        index.upsert(ids[step : 5 + step], -vectors[step : 5 + step], cells[step : 5 + step])
        left = step

        def counted(do):
            def one(*where, **options):
                nonlocal left
                left -= 1
                if left < 0:
                    raise KeyboardInterrupt
                return do(*where, **options)

            return one

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", counted(replace))
            patch.setattr(os, "unlink", counted(unlink))
            with contextlib.suppress(KeyboardInterrupt):
                index.save(tmp_path)
        again = make(words)
        again.open(tmp_path, matcher=KEY)
        assert again.digests() in (before, index.digests())
    make(words).build(ids, vectors, cells, KEY, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # nothing of earlier saves is left


def test_a_folder_that_cannot_be_written_is_a_mistake(make, tmp_path):
    (tmp_path / "file").write_text("")
    index = make("exact")
    index.build(*people(3), KEY)
    with pytest.raises(UserError, match=r"cannot be written: .* index.root=FOLDER"):
        index.save(tmp_path / "file" / "index")


@pytest.mark.parametrize("words, package", [("faiss", "faiss"), ("qdrant", "qdrant_client")])
def test_an_extra_that_is_not_installed_is_named(words, package, unlisted, monkeypatch):
    module = f"style_match.serving.index.{words}"
    importlib.import_module(module)
    monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=rf"pip install 'style_match\[{words}\]', or set index=exact"):
        opened(words, unlisted, people(3))


@pytest.mark.parametrize("words", EVERY)
def test_an_index_is_built_once_then_updated(words, unlisted, capsys):
    ids, vectors, cells = people(40)
    said = []
    for rows in (range(30), range(30), range(5, 40)):
        some = [ids[i] for i in rows], vectors[list(rows)], [cells[i] for i in rows]
        opened(words, unlisted / "data", some)
        said.append(capsys.readouterr().err)
    assert "30 profiles, built" in said[0] and "30 profiles, up to date" in said[1]
    assert "10 added, 0 replaced, 5 removed" in said[2] or "rebuilt: 5 of 40 rows" in said[2]
    (known,) = known_indexes()
    assert known.data_root == (unlisted / "data").resolve()
    assert known.folder.is_relative_to(unlisted / "cache" / "indexes")
    opened(words, unlisted / "data", (ids, vectors, cells), key="another matcher")
    opened(words, unlisted / "other data", (ids, vectors, cells))
    assert len(known_indexes()) == 3


def test_an_index_that_cannot_be_used_is_rebuilt(unlisted, capsys):
    ids, vectors, cells = people(40)
    words = "faiss kind=hnsw"
    for options in ({}, {"ef_search": 7}, {"m": 8}, {"m": 8}):
        index = opened(words, unlisted, (ids, vectors, cells), **options)
        assert (index.m, index.ef_search) == (options.get("m", 32), options.get("ef_search", 64))
    said = capsys.readouterr().err.splitlines()
    assert ["up to date" in line for line in said] == [False, True, False, True]
    assert "rebuilt: index.m was 32" in said[2]
    opened(words, unlisted, (ids, np.eye(40, dtype=np.float32), cells), m=8)
    assert "rebuilt: vectors had 8 dimensions" in capsys.readouterr().err
    (known,) = known_indexes()
    manifest = json.loads((known.folder / "manifest.json").read_text())
    for content in ("{", json.dumps({**manifest, "format": 2}), json.dumps({**manifest, "matcher": "another"})):
        (known.folder / "manifest.json").write_text(content)
        opened(words, unlisted, (ids, vectors, cells))
        assert "rebuilt: " in capsys.readouterr().err


def old_index(folder) -> None:
    """What version 0.1.0 wrote: three parts with digests in their names."""
    parts = {"vectors": f"vectors-{'0' * 32}.safetensors", "profiles": f"profiles-{'1' * 32}.parquet"}
    made_by = {"made_by": "style_match.index.exact.Exact", "options": {"query_block": 64, "row_block": 65536}}
    manifest = {"kind": "exact", "matcher": KEY, "dim": 8, "count": 3, **made_by, "format": 1, "files": parts}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "digest": "2" * 64}))
    for name in parts.values():
        (folder / name).write_bytes(b"p001")


@pytest.mark.parametrize("forget", [False, True])
def test_an_index_of_an_older_version_is_rebuilt_or_deleted(forget, unlisted, capsys):
    opened("exact", unlisted, people(3))
    (known,) = known_indexes()
    old_index(known.folder)
    if forget:
        assert "the whole index is deleted" in delete_everywhere(unlisted, ["p001"])[0]
        assert [path.name for path in known.folder.iterdir()] == [".lock"]
    else:
        opened("exact", unlisted, people(3))
        assert "rebuilt" in capsys.readouterr().err and len(list(known.folder.iterdir())) == 3


@pytest.mark.parametrize("words", EVERY)
def test_a_person_is_deleted_from_every_index_of_the_folder(words, unlisted):
    ids, vectors, cells = people(40, dim=32)
    cells[3]["note"] = "the only one who says so"
    for data, options in (("data", {}), ("data", {"root": str(unlisted / "elsewhere")}), ("other", {})):
        opened(words if not options else "exact", unlisted / data, (ids, vectors, cells), **options)
    lines = delete_everywhere(unlisted / "data", ["p003", "nobody"])
    assert [line.endswith(": 1 profiles deleted") for line in lines] == [True, True]
    for known in known_indexes():
        files = [path.read_bytes() for path in known.folder.rglob("*") if path.is_file()]
        secrets = (b"the only one", b"p003", vectors[3].tobytes())
        held = any(secret in content for content in files for secret in secrets)
        assert held == (known.data_root.name == "other"), known.folder
    lines = delete_everywhere(unlisted / "data", ["p003"])
    assert [line.endswith(": 0 profiles deleted") for line in lines] == [True, True]


def test_an_index_that_is_missing_or_cannot_be_read_does_not_block(unlisted):
    profiles = people(5)
    opened("faiss", unlisted, profiles)
    opened("exact", unlisted, profiles, root=str(unlisted / "mount"))
    opened("exact", unlisted, profiles)
    folders = {("mount" in known.folder.parts, known.folder.name): known.folder for known in known_indexes()}
    (folders[False, "faiss-flat"] / "manifest.json").write_text("{}")
    (unlisted / "mount").rename(unlisted / "unmounted")
    told = {line.partition(": ")[0]: line for line in delete_everywhere(unlisted, ["p001"])}
    assert "the whole index is deleted" in told[str(folders[False, "faiss-flat"])]
    assert "is not there" in told[str(folders[True, "exact"])]
    assert told[str(folders[False, "exact"])].endswith(": 1 profiles deleted")
    (unlisted / "unmounted").rename(unlisted / "mount")
    assert any("mount" in line and "1 profiles deleted" in line for line in delete_everywhere(unlisted, ["p001"]))


@pytest.mark.parametrize("at_first", [True, False])
def test_what_an_interrupted_build_left_of_a_person_is_deleted_too(at_first, unlisted, monkeypatch):
    ids, vectors, cells = people(6)
    if not at_first:
        opened("exact", unlisted, (ids[:2], vectors[:2], cells[:2]))

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_whole", interrupted)
        with pytest.raises(KeyboardInterrupt):
            opened("exact", unlisted, (ids, vectors, cells))
    (known,) = known_indexes()
    (known.folder / ".data.123.tmp").write_bytes(vectors[3].tobytes())
    delete_everywhere(unlisted, ["p003"])
    assert not [path for path in known.folder.iterdir() if vectors[3].tobytes() in path.read_bytes()]
    assert len(list(known.folder.iterdir())) == (1 if at_first else 3)


def test_a_manifest_names_no_code(unlisted):
    opened("exact", unlisted, people(5))
    (known,) = known_indexes()
    manifest = json.loads((known.folder / "manifest.json").read_text())
    (known.folder / "manifest.json").write_text(json.dumps({**manifest, "kind": "os.system"}))
    (line,) = delete_everywhere(unlisted, ["p001"])
    assert "the whole index is deleted" in line
