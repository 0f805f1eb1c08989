"""`style_match.prepare` from its command line."""

from pathlib import Path

import pytest

from style_match.utils import files
from tests.commands import HEAVY, unimportable
from tests.curation.prepare.sources import files_of, write_source


class Killed(BaseException):
    """Ends the step at once."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source")


def test_the_command_prints_counts_paths_and_the_next_command(source, run_step, tmp_path):
    out = tmp_path / "out"
    done = run_step("prepare", f"source={source}", f"out={out}")
    assert "photos kept" in done.stdout and str(out / "prepared.html") in done.stdout
    assert f"python -m style_match.train data=styles data.root={out}" in done.stdout
    assert "kind=tables" in done.stderr
    assert (out / "prepared.html").stat().st_size > 1000
    assert "Nothing changed" in run_step("prepare", f"source={source}", f"out={out}").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "source is required. Set source=FOLDER."),
        (("source=gone", "out=x"), "there is no such folder"),
        (("source=.", "out=x", "kind=tabels"), "Did you mean kind=tables?"),
        (("source=.", "out=x", "leave_out.visual_qualty=[]"), "leave_out.visual_quality"),
        (("source=.", "out=x", "photos=move"), "photos must be copy or link"),
    ],
)
def test_a_mistake_is_one_message_and_no_traceback(words, said, run_step):
    with unimportable(*HEAVY):
        done = run_step("prepare", *words, code=2)
    assert said in done.stderr and "Traceback" not in done.stderr


def test_killed_before_the_page_is_written_the_same_command_ends_with_the_same_bytes(source, run_step, tmp_path):
    """The page is the command's own; tests/curation/prepare/test_output.py stops `prepare` at other writes."""
    replace = files.replace_whole

    def killed(path: Path, content: bytes) -> None:
        if path.name == "prepared.html":
            raise Killed
        replace(path, content)

    words = ["prepare", f"source={source}", f"out={tmp_path / 'out'}"]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(files, "replace_whole", killed)
        run_step(*words)
    assert not (tmp_path / "out/prepared.html").exists()
    run_step(*words)
    run_step("prepare", f"source={source}", f"out={tmp_path / 'whole'}")
    whole, again = files_of(tmp_path / "whole"), files_of(tmp_path / "out")
    whole["prepared.html"] = whole["prepared.html"].replace(bytes(tmp_path / "whole"), bytes(tmp_path / "out"))
    assert again == whole
