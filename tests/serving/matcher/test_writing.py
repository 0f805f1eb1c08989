"""Where a matcher may be written: into nothing, over its own earlier export, over a damaged one that is alone."""

import json
from pathlib import Path

import pytest

from style_match.serving.matcher_folder import read_matcher, refuse_other_content, write_matcher
from style_match.utils.errors import UserError

RUN = "0" * 64  # of the matchers of `made`


def test_a_whole_matcher_of_the_run_may_be_overwritten_and_no_other(made):
    refuse_other_content(made(), RUN)
    with pytest.raises(UserError, match=r"holds the matcher of another run. Set another out, or delete that matcher"):
        refuse_other_content(made("other"), "1" * 64)


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"run": {"id": "', b'{"run": {"id": "x"}, "digest": "y"}'])
def test_a_damaged_matcher_that_is_alone_is_exported_again(made, content):
    folder = made()
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / "matcher.json").write_bytes(content)
    (folder / "text.safetensors").write_bytes(b"of the damaged one alone")
    refuse_other_content(folder, "1" * 64)
    write_matcher(folder, files)
    assert read_matcher(folder).about == json.loads(files["matcher.json"])
    assert {path.name for path in folder.iterdir()} == files.keys()


def test_other_files_beside_a_damaged_matcher_are_named_and_stay(made):
    folder = made()
    (folder / "matcher.json").write_text("{")
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"a damaged matcher and other files \(thesis\.txt\). Set another out, or"):
        refuse_other_content(folder, RUN)
    assert (folder / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("out", ["/proc/matcher", "/proc/a/b"])
def test_a_place_that_cannot_be_written_is_refused_at_once(out):
    with pytest.raises(UserError, match=rf"Cannot write out={out}: .*Set another out"):
        refuse_other_content(Path(out), RUN)


def test_trying_leaves_nothing(tmp_path):
    refuse_other_content(tmp_path / "a" / "b", RUN)
    assert list(tmp_path.iterdir()) == []
