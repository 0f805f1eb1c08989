"""A table by its commands: a sweep that is stopped, goes on, grows, is changed, and is reported."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from style_match.models import module
from tests.commands import QUICK, run_in_process

SMALL = ("data.num_couples=40", "sampler.batch_size=8", "trainer.max_epochs=2", "head.hidden_dim=32", *QUICK)
ROWS = ("dim512_tau0.1", "dim512_tau0.2")
SWEEP = ("experiment=table3", f"row={','.join(ROWS)}", *SMALL)
ONE_ROW = f"row=choice({ROWS[0]})"  # as a sweep over it, so that it is in the names of the cells
FAST_REPORT = ("report.num_resamples=200", "report.min_seeds=2", "report.leave_out=[lacking]")


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def cells(folder: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in folder.glob("*/metrics.json")}


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def times(folder: Path) -> dict[str, int]:
    return {name: (path / "metrics.json").stat().st_mtime_ns for name, path in cells(folder).items()}


def stop_in_second_cell(folder: Path, home: Path) -> None:
    """A sweep that ends like a killed one after the first epoch of its second cell.

    Unlike a kill it lets `finally` blocks run: the loggers close their files and the sweep prints its summary.
    """
    begin, begun = module.MatchModule.on_train_epoch_start, []

    def on_train_epoch_start(self: module.MatchModule) -> None:
        begun.append(self.current_epoch)
        if len(begun) == 4:
            raise Killed
        begin(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module.MatchModule, "on_train_epoch_start", on_train_epoch_start)
        with pytest.raises(Killed):
            run_in_process("train", [*SWEEP, "seed=0,1", f"hydra.sweep.dir={folder}"], cwd=home)
    assert begun == [0, 1, 0, 1] and list(cells(folder)) == [f"row={ROWS[0]},seed=0"]
    assert (folder / f"row={ROWS[0]},seed=1" / "checkpoints" / "last.ckpt").exists()


@pytest.fixture(scope="session")
def sweep(once, run_step, tmp_path_factory) -> Path:
    """Two rows and two seeds; the sweep was stopped in its second cell and went on. Do not write into it."""

    def make(folder: Path) -> None:
        stop_in_second_cell(folder, tmp_path_factory.mktemp("home"))
        before = times(folder)
        done = run_step("train", *SWEEP, "seed=0,1", f"hydra.sweep.dir={folder}")
        assert f"row={ROWS[0]},seed=0 is already finished" in done.stderr
        assert done.stderr.count("is already finished") == 1
        assert f"job 4 of 4, row={ROWS[1]},seed=1:" in done.stderr and "4 finished, 0 failed" in done.stderr
        assert " computed in " not in done.stderr, "the backbone has run, for a complete sweep"
        assert set(cells(folder)) == {f"row={row},seed={seed}" for row in ROWS for seed in (0, 1)}
        assert before.items() <= times(folder).items()

    return once("table3_sweep", make)


@pytest.fixture
def copied(sweep: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sweep, tmp_path / "sweep")


def test_a_stopped_cell_goes_on_to_the_result_of_one_that_was_not(sweep: Path, run_step, tmp_path: Path):
    run_step("train", *SMALL, f"row={ROWS[0]}", "seed=1", f"hydra.run.dir={tmp_path / 'run'}")
    assert metrics(tmp_path / "run") == metrics(sweep / f"row={ROWS[0]},seed=1")


@pytest.mark.slow
def test_a_sweep_runs_only_new_cells_and_those_on_other_data(copied: Path, run_step):
    """A third seed is new, one job was run on other data, and one with other code, which does not matter."""
    first, cell = (copied / f"row={ROWS[0]},seed={seed}" for seed in (0, 1))
    provenance = json.loads((cell / "provenance.json").read_text())
    other_data = {"data": provenance["data"] | {"fingerprint": "older"}}
    (cell / "provenance.json").write_text(json.dumps(provenance | other_data))
    (first / "provenance.json").write_text(
        json.dumps(json.loads((first / "provenance.json").read_text()) | {"code": "older"})
    )
    was, before = metrics(cell), times(copied)
    words = (ONE_ROW, *SMALL, "seed=0,1,2", "progress=false", "data.num_workers=1")
    done = run_step("train", "-m", *words, f"hydra.sweep.dir={copied}")
    assert done.stderr.count("is already finished") == 1 and "training:" not in done.stderr
    assert "row=dim512_tau0.1,seed=1 was run with different data" in done.stderr
    after = times(copied)
    assert {name for name in after if after[name] != before.get(name)} == {
        f"row={ROWS[0]},seed={seed}" for seed in (1, 2)
    }
    (old,) = (copied / "replaced").iterdir()
    assert old.name.startswith(cell.name) and metrics(old) == was == metrics(cell)
    data = [json.loads((folder / "provenance.json").read_text())["data"]["fingerprint"] for folder in (old, cell)]
    assert data == ["older", provenance["data"]["fingerprint"]]


def test_a_changed_option_that_is_not_swept_is_refused(copied: Path, run_step):
    before = {name: metrics(path) for name, path in cells(copied).items()}
    words = (ONE_ROW, *SMALL, "seed=choice(1)", "optimizer.lr=1e-3", f"hydra.sweep.dir={copied}")
    done = run_step("train", "-m", *words, code=2)
    assert "1 job of the sweep failed" in done.stderr and "different optimizer.lr" in done.stderr
    assert {name: metrics(path) for name, path in cells(copied).items()} == before


def test_the_report_holds_what_the_runs_hold(sweep: Path, run_step, tmp_path: Path):
    more = ("report.by=gender", "report.thumbnails=true", *FAST_REPORT)
    done = run_step("report", "table=all", f"sweep={sweep}", f"out={tmp_path}", *more)
    assert "synthetic data" in done.stdout and "12 queries in one test set, gallery 6, 2 seeds." in done.stdout
    with open(tmp_path / "tables.csv", newline="") as file:
        lines = {(line["table"], line["row"], line["metric"]): line for line in csv.DictReader(file)}
    for row in ROWS:
        for metric in ("recall@5", "mrr"):
            found = [metrics(sweep / f"row={row},seed={seed}")["trained"][metric]["value"] for seed in range(2)]
            assert float(lines["table3", row, metric]["value"]) == pytest.approx(sum(found) / 2)
    frozen = metrics(sweep / "row=dim512_tau0.2,seed=0")["frozen"]["mrr"]["value"]
    assert float(lines["table1", "frozen", "mrr"]["value"]) == pytest.approx(frozen)
    page = tmp_path / "report.html"
    assert page.stat().st_size > 10**6
    text = page.read_text()
    assert "By gender of the asking profile" in text and text.count("data:image/jpeg") >= 12


def test_a_run_of_evaluate_is_reported_too(sweep: Path, run_step, tmp_path: Path):
    run = sweep / "row=dim512_tau0.2,seed=0"
    run_step("evaluate", f"run={run}", "evaluation=default", f"hydra.run.dir={tmp_path / 'e'}")
    choices = json.loads((tmp_path / "e" / "provenance.json").read_text())["choices"]
    assert (choices["recipe"], choices["row"], choices["evaluation"]) == (None, "dim512_tau0.2", "default")
    for folder in (tmp_path / "e", run):
        out = tmp_path / folder.name
        run_step("report", "table=table1", f"sweep={folder}", f"out={out}", *FAST_REPORT, "report.min_seeds=1")
    assert (tmp_path / "e" / "table1.md").read_text() == (tmp_path / run.name / "table1.md").read_text()


@pytest.mark.thorough
def test_evaluations_of_two_poolings_are_compared(run_step, tmp_path: Path):
    words = ("-m", "data.num_couples=40", "pooling=eos,mean", QUICK[0], f"hydra.sweep.dir={tmp_path}")
    run_step("evaluate", *words)
    assert "Mean pooling minus EOS token" in run_step("report", "table=table2", f"sweep={tmp_path}").stdout
