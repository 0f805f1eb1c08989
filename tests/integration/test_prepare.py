"""`style_match.prepare` from its command line."""

from pathlib import Path

import pytest

from tests.commands import HEAVY, unimportable
from tests.curation.prepare.sources import write_source


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
