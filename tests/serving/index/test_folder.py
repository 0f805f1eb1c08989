"""Saved and opened again: the same answers, or a refusal that says why."""

import contextlib
import importlib
import json
import os
import sys

import pytest

from style_match.serving.index.storage import NoIndex
from style_match.serving.where import parse
from style_match.utils.errors import UserError
from tests.commands import unimportable

from .conftest import EVERY, people

KEY = "a matcher's identity"
HELD = [words for words in EVERY if words != "qdrant"]


@pytest.mark.parametrize("words", EVERY)
@pytest.mark.parametrize("at_once", [True, False])
def test_an_index_comes_back_as_it_was(words, at_once, make, tmp_path):
    ids, vectors, cells = people(50)
    index = make(words)
    index.build(ids, vectors, cells, KEY, folder=tmp_path / "index" if at_once else None)
    index.upsert(["new"], -vectors[:1], [{"gender": "f"}])
    index.delete(["p007"])
    index.save(tmp_path / "index")
    ask = {"where": parse("gender == 'f' and not age < 30")}
    answers, digests, recall = index.search(vectors[:9], 5, **ask), index.digests(), getattr(index, "recall", None)
    index.close()
    again = make(words)
    again.open(tmp_path / "index", matcher=KEY)
    assert again.search(vectors[:9], 5, **ask) == answers
    assert again.digests() == digests
    assert getattr(again, "recall", None) == recall
    assert len(again) == 50 and "p007" not in digests


@pytest.mark.parametrize("words", EVERY)
def test_an_index_of_another_matcher_is_refused_with_both_names(words, make, tmp_path):
    index = make(words)
    index.build(*people(5), KEY, folder=tmp_path)
    index.close()
    with pytest.raises(UserError, match=f"of the matcher {KEY}, which cannot be compared with those of another one"):
        make(words).open(tmp_path, matcher="another one")


@pytest.mark.parametrize("words", EVERY)
def test_where_nothing_was_saved_nothing_is_opened(words, make, tmp_path):
    with pytest.raises(NoIndex):
        make(words).open(tmp_path / "nothing", matcher=KEY)


def test_an_index_is_opened_as_what_it_is(make, tmp_path):
    make("exact").build(*people(5), KEY, folder=tmp_path)
    with pytest.raises(UserError, match="of the kind exact, not faiss-flat"):
        make("faiss").open(tmp_path, matcher=KEY)


@pytest.mark.parametrize("words", HELD)
def test_any_flipped_byte_is_noticed(words, make, tmp_path):
    make(words).build(*people(6), KEY, folder=tmp_path)
    for path in sorted(tmp_path.iterdir()):
        whole = path.read_bytes()
        for place in range(0, len(whole), max(1, len(whole) // 7)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(UserError, match=r"delete the folder|of format|other matcher|Install a newer"):
                make(words).open(tmp_path, matcher=KEY)
        path.unlink()
        with pytest.raises(UserError):
            make(words).open(tmp_path, matcher=KEY)
        path.write_bytes(whole)
    make(words).open(tmp_path, matcher=KEY)


@pytest.mark.parametrize("words", EVERY)
def test_a_newer_format_is_refused(words, make, tmp_path):
    index = make(words)
    index.build(*people(5), KEY, folder=tmp_path)
    index.close()
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))
    with pytest.raises(UserError, match=r"is of format 2; .* reads up to 1\. Install a newer"):
        make(words).open(tmp_path, matcher=KEY)


@pytest.mark.parametrize("words", HELD)
def test_a_save_that_is_killed_at_any_step_leaves_the_index_before_or_after(words, make, tmp_path, monkeypatch):
    ids, vectors, cells = people(20)
    make(words).build(ids[:10], vectors[:10], cells[:10], KEY, folder=tmp_path)
    replace, unlink = os.replace, os.unlink
    for step in range(1, 12):
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

        monkeypatch.setattr(os, "replace", counted(replace))
        monkeypatch.setattr(os, "unlink", counted(unlink))
        with contextlib.suppress(KeyboardInterrupt):
            index.save(tmp_path)
        monkeypatch.setattr(os, "replace", replace)
        monkeypatch.setattr(os, "unlink", unlink)
        again = make(words)
        again.open(tmp_path, matcher=KEY)
        assert again.digests() in (before, index.digests())
    make(words).build(ids, vectors, cells, KEY, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == {"exact": 3, "faiss": 3}.get(words, 4)  # nothing of before is left


def test_a_full_disk_is_told(make, tmp_path):
    (tmp_path / "file").write_text("")
    index = make("exact")
    index.build(*people(3), KEY)
    with pytest.raises(UserError, match=r"cannot be written: .* index.root=FOLDER"):
        index.save(tmp_path / "file" / "index")


@pytest.mark.parametrize("words, package", [("faiss", "faiss"), ("qdrant", "qdrant_client")])
def test_an_extra_that_is_not_installed_is_named(words, package, make, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Exception) as told:
        make(words)
    assert f"pip install 'style_match[{words}]'" in str(told.value) and "index=exact" in str(told.value)


def test_the_package_imports_nothing_heavy():
    with unimportable("torch", "faiss", "qdrant_client", "pyarrow", "transformers"):
        importlib.import_module("style_match.serving.index")
