"""`python -m style_match.report` through its command line, over runs written by hand."""

import pytest

from style_match import report
from tests.reporting.run_folders import table3, write_run

pytestmark = pytest.mark.integration


@pytest.fixture
def ask(step):
    """The command, with its real work and little resampling."""

    def run(*words: str) -> int:
        return step(*words, "report.num_resamples=200", step="report", work=report.run)

    return run


def said(step):
    return step.err.strip()


def test_help(step):
    assert step("--help", step="report") == 0
    for part in (" all ", " table1 table2 table3", "table=table3 sweep=runs/train/FOLDER", "uncertainty"):
        assert part in step.out
    assert not list(step.configs)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ((), "sweep is required. Set sweep=FOLDER."),
        (("sweep=nothing",), "sweep=nothing: there is no such folder. Sweeps are listed under runs/train/."),
        (("sweep=empty",), "sweep=empty contains no run. Set the folder of a sweep, or of one run."),
        (("sweep=empty", "table=tabel3"), "table=tabel3: unknown choice. Did you mean table=table3?"),
    ],
)
def test_mistakes_are_answered_in_a_line_and_leave_nothing_behind(step, tmp_path, words, answer):
    (tmp_path / "empty").mkdir()
    assert step(*words, step="report", work=report.run) == 2
    assert answer in said(step) and "Traceback" not in step.err
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_faults_of_values_and_words_are_answered_together(step):
    words = ("sweep=empty", "report.confidence=95", "report.by=age", "report.bands=18", "report.thumbnails=maybe")
    assert step(*words, step="report") == 2
    assert [line.partition(" ")[0] for line in sorted(step.err.splitlines())] == [
        "report.bands",
        "report.confidence",
        "report.thumbnails",
    ]
    assert step("sweep=empty", "head.dim=3", step="report") == 2
    assert 'unknown option or group "head.dim"' in step.err


def test_a_sweep_becomes_tables(ask, step, tmp_path):
    table3(tmp_path / "sweep, new = 1")
    assert ask("sweep=sweep, new = 1", "table=all") == 0, step.err
    written = tmp_path / "sweep, new = 1" / "report"
    files = ["report.html", "table1.md", "table1.tex", "table3.md", "table3.tex", "tables.csv"]
    assert sorted(path.name for path in written.iterdir()) == files
    assert "Table 1: main result (synthetic data)" in step.out and "Table 3" in step.out
    assert all(f"report/{name}" in step.out.replace("\n", "") for name in files)
    assert "24 queries in one test set, gallery 12, 3 seeds." in step.out
    assert "synthetic data, not comparable" in " ".join(step.out.split())
    again = {path.name: path.read_bytes() for path in written.iterdir()}
    # the first report is in the sweep now; it is not read as a run
    assert ask("sweep=sweep, new = 1", "table=all", f"out={tmp_path / 'else'}") == 0, step.err
    assert {p.name: p.read_bytes() for p in (tmp_path / "else").iterdir()} == again, "the same runs give the same bytes"


def test_one_run_by_its_folder_whatever_its_name(ask, step, tmp_path):
    cells = table3(tmp_path / "sweep", seeds=(0,))
    cell = cells["dim512_tau0.2", 0]
    assert ask(f"sweep={cell}", "table=table1") == 0, step.err
    assert (cell / "report" / "table1.md").is_file()
    assert "One seed: the intervals ignore the variance over seeds" in " ".join(step.out.split())


def test_runs_that_no_table_can_use_are_named_together(ask, step, tmp_path):
    table3(tmp_path / "sweep")
    write_run(tmp_path / "sweep" / "stranger", head__dim=64)
    (write_run(tmp_path / "sweep" / "begun", seed=9) / "metrics.json").unlink()
    assert ask("sweep=sweep", "table=table3") == 2
    assert "1 foreign and 1 unfinished runs:" in step.err
    assert "stranger: it matches no row" in step.err and "begun: it has no metrics.json" in step.err
    assert "report.leave_out=[foreign,unfinished]" in step.err
    assert not (tmp_path / "sweep" / "report").exists()
    assert ask("sweep=sweep", "table=table3", "report.leave_out=[foreign,unfinished]") == 0, step.err
    assert "left out, foreign: sweep/stranger" in step.err
    assert "stranger" in (tmp_path / "sweep" / "report" / "report.html").read_text()


def test_an_unfinished_cell_is_said_before_what_it_makes_lack(ask, step, tmp_path):
    cells = table3(tmp_path / "sweep")
    (cells["dim512_tau0.1", 2] / "metrics.json").unlink()
    assert ask("sweep=sweep", "table=table3") == 2
    assert "1 unfinished run:" in step.err and "Missing" not in step.err
    assert ask("sweep=sweep", "table=table3", "report.leave_out=[unfinished]") == 2
    assert "Missing" in step.err and "report.leave_out=[lacking]" in step.err
    words = ("report.leave_out=[unfinished,lacking]", "report.min_seeds=2")
    assert ask("sweep=sweep", "table=table3", *words) == 0, step.err
    assert "Left out: dim256_tau0.1" in (tmp_path / "sweep" / "report" / "table3.md").read_text()


def test_nothing_that_is_finished_is_nothing_to_report(ask, step, tmp_path):
    (write_run(tmp_path / "sweep" / "begun") / "metrics.json").unlink()
    assert ask("sweep=sweep", "table=table3", "report.leave_out=[unfinished]") == 2
    assert "sweep=sweep: no run in it is finished" in step.err
    assert not (tmp_path / "sweep" / "report").exists()


def test_a_place_that_cannot_be_written(ask, step, tmp_path):
    table3(tmp_path / "sweep")
    (tmp_path / "file").write_text("")
    assert ask("sweep=sweep", "table=table3", "out=file") == 2
    assert "Cannot create file" in step.err
