"""A table by its commands: a sweep that is killed, goes on, grows, is changed, and is reported."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SMALL = ("data.num_couples=80", "trainer.max_epochs=4", "sampler.batch_size=16", "head.hidden_dim=64")
SWEEP = ("experiment=table3", *SMALL)
ROWS = ("dim256_tau0.1", "dim512_tau0.1", "dim512_tau0.2")


def cells(folder: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in folder.glob("*/metrics.json")}


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def times(folder: Path) -> dict[str, int]:
    return {name: (path / "metrics.json").stat().st_mtime_ns for name, path in cells(folder).items()}


@pytest.fixture(scope="module")
def killed(step, cache: Path, tmp_path_factory) -> Path:
    """A sweep that was killed while it trained its second cell."""
    folder = tmp_path_factory.mktemp("sweeps") / "table3"
    step("embed", "data.num_couples=80")
    command = [sys.executable, "-m", "style_match.train", *SWEEP, "seed=0,1", f"hydra.sweep.dir={folder}"]
    process = subprocess.Popen(command, env={**os.environ, "STYLE_MATCH_CACHE": str(cache)}, stderr=subprocess.DEVNULL)
    while not (folder / "row=dim256_tau0.1,seed=1" / "checkpoints" / "last.ckpt").exists():
        assert process.poll() is None, "ended before its second cell"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list(cells(folder)) == ["row=dim256_tau0.1,seed=0"]
    return folder


@pytest.fixture(scope="module")
def whole(killed: Path, step) -> Path:
    """The same with its unfinished cells, and then a third seed."""
    before = times(killed)
    done = step("train", *SWEEP, "seed=0,1", f"hydra.sweep.dir={killed}")
    assert "row=dim256_tau0.1,seed=0 is finished already" in done.stderr
    assert done.stderr.count("is finished already") == 1
    assert "cell 6 of 6, row=dim512_tau0.2,seed=1:" in done.stderr and "6 cells finished, 0 failed" in done.stderr
    assert " computed in " not in done.stderr, "the backbone has run, for a whole sweep"
    assert set(cells(killed)) == {f"row={row},seed={seed}" for row in ROWS for seed in (0, 1)}
    after = times(killed)
    assert before.items() <= after.items()
    done = step("train", *SWEEP, "seed=0,1,2", f"hydra.sweep.dir={killed}")
    assert done.stderr.count("is finished already") == 6 and "9 cells finished" in done.stderr
    assert after.items() <= times(killed).items(), "only the new seed has run"
    return killed


@pytest.fixture
def copied(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "sweep")


def test_a_killed_cell_goes_on_to_the_result_of_one_that_was_not(whole: Path, step, tmp_path: Path):
    step("train", *SMALL, "row=dim256_tau0.1", "seed=1", f"hydra.run.dir={tmp_path / 'run'}")
    assert metrics(tmp_path / "run") == metrics(whole / "row=dim256_tau0.1,seed=1")


def test_nothing_is_run_again(whole: Path, step):
    before = times(whole)
    done = step("train", *SWEEP, "seed=0,1,2", f"hydra.sweep.dir={whole}", "progress=false", "data.num_workers=1")
    assert done.stderr.count("is finished already") == 9 and "training:" not in done.stderr
    assert times(whole) == before and not (whole / "replaced").exists()


def test_the_report_holds_what_the_runs_hold(whole: Path, step, tmp_path: Path):
    done = step("report", "table=all", f"sweep={whole}", f"out={tmp_path}")
    assert "synthetic data" in done.stdout and "24 queries in one test set, gallery 12, 3 seeds." in done.stdout
    with open(tmp_path / "tables.csv", newline="") as file:
        lines = {(line["table"], line["row"], line["metric"]): line for line in csv.DictReader(file)}
    for row in ROWS:
        for metric in ("recall@5", "recall@10", "mrr"):
            found = [metrics(whole / f"row={row},seed={seed}")["trained"][metric]["value"] for seed in range(3)]
            assert float(lines["table3", row, metric]["value"]) == pytest.approx(sum(found) / 3)
    frozen = metrics(whole / "row=dim512_tau0.2,seed=0")["frozen"]["mrr"]["value"]
    assert float(lines["table1", "frozen", "mrr"]["value"]) == pytest.approx(frozen)
    assert (tmp_path / "report.html").stat().st_size > 10**6
    step(
        "report",
        "table=all",
        f"sweep={whole}",
        f"out={tmp_path / 'more'}",
        "report.by=gender",
        "report.thumbnails=true",
    )
    page = (tmp_path / "more" / "report.html").read_text()
    assert "By gender of the asking profile" in page and page.count("data:image/jpeg") > 24


def test_a_changed_option_that_is_not_swept_is_refused(copied: Path, step):
    before = {name: metrics(path) for name, path in cells(copied).items()}
    done = step("train", *SWEEP, "seed=0,1", "optimizer.lr=1e-3", f"hydra.sweep.dir={copied}", code=2)
    assert "6 cells of the sweep failed" in done.stderr and "another optimizer.lr" in done.stderr
    assert {name: metrics(path) for name, path in cells(copied).items()} == before


def test_a_cell_of_other_code_is_run_anew_and_kept(copied: Path, step):
    cell = copied / "row=dim512_tau0.1,seed=1"
    provenance = json.loads((cell / "provenance.json").read_text())
    (cell / "provenance.json").write_text(json.dumps(provenance | {"code": "older"}))
    was = metrics(cell)
    done = step("train", *SWEEP, "seed=0,1,2", f"hydra.sweep.dir={copied}")
    assert "row=dim512_tau0.1,seed=1 was run with other code" in done.stderr
    assert done.stderr.count("is finished already") == 8
    (old,) = (copied / "replaced").iterdir()
    assert old.name.startswith(cell.name) and json.loads((old / "provenance.json").read_text())["code"] == "older"
    assert metrics(old) == was == metrics(cell)
    assert json.loads((cell / "provenance.json").read_text())["code"] == provenance["code"]
    step("report", "table=table3", f"sweep={copied}")


def test_runs_of_evaluate_are_reported_too(whole: Path, step, tmp_path: Path):
    for seed in range(3):
        step("evaluate", f"run={whole / f'row=dim512_tau0.2,seed={seed}'}", f"hydra.run.dir={tmp_path / f'e/{seed}'}")
    step("report", "table=table1", f"sweep={tmp_path / 'e'}")
    step("report", "table=table1", f"sweep={whole}", f"out={tmp_path / 'all'}", "report.leave_out=[foreign]")
    assert (tmp_path / "e" / "report" / "table1.md").read_text() == (tmp_path / "all" / "table1.md").read_text()
    for pooling in ("eos", "mean"):
        step("evaluate", "data.num_couples=80", f"pooling={pooling}", f"hydra.run.dir={tmp_path / f'p/{pooling}'}")
    assert "Mean pooling minus EOS token" in step("report", "table=table2", f"sweep={tmp_path / 'p'}").stdout


def test_an_evaluation_is_of_the_recipe_that_its_run_was(whole: Path, step, tmp_path: Path):
    run = shutil.copytree(whole / "row=dim512_tau0.2,seed=0", tmp_path / "run")
    provenance = json.loads((run / "provenance.json").read_text())
    provenance["choices"] |= {"recipe": "mine"}
    (run / "provenance.json").write_text(json.dumps(provenance))
    step("evaluate", f"run={run}", "evaluation=default", f"hydra.run.dir={tmp_path / 'evaluated'}")
    choices = json.loads((tmp_path / "evaluated" / "provenance.json").read_text())["choices"]
    assert (choices["recipe"], choices["row"], choices["evaluation"]) == ("mine", "dim512_tau0.2", "default")
    assert "None of 1 finished runs fits" in step("report", f"sweep={tmp_path / 'evaluated'}", code=2).stderr
