"""The cells of a sweep: how many there are, what their folders are called, what is said of them."""

import json
import os
import string
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from style_match.cli.plan import folds_without_fold
from style_match.cli.sweep import MAX_NAME, job_name
from style_match.training.run_folder import RunFolder
from style_match.utils.errors import UserError

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]


def folder() -> Path:
    return Path(HydraConfig.get().runtime.output_dir)


@pytest.mark.parametrize(
    ("swept", "name"),
    [
        ("", "7"),
        ("seed=0", "seed=0"),
        ("head.dim=256,row=dim512_tau0.1,seed=3", "head.dim=256,row=dim512_tau0.1,seed=3"),
        ("optimizer.lr=1e-05", "optimizer.lr=1e-05"),
    ],
)
def test_a_job_is_called_after_what_is_swept(swept, name):
    assert job_name(swept, 7) == name


@example(".", "..")
@given(
    st.text(string.printable + "ßé한", min_size=1, max_size=300), st.text(string.printable, min_size=1, max_size=300)
)
def test_a_job_name_is_one_folder_that_any_disk_takes_and_no_other_cells(one, other):
    name = job_name(one, 0)
    assert Path(name).name == name and name not in (".", "..") and len(name.encode()) <= 255
    assert not set(name) & set("/\\:*?\"<>|' \n\t$;&")
    assert (name == job_name(other, 1)) == (one == other)


def test_a_long_name_is_cut_and_stays_its_own():
    names = {job_name("x" * 200 + end, 0) for end in "ab"}
    assert len(names) == 2 and all(len(name) < MAX_NAME + 10 for name in names)


def test_only_what_is_swept_is_in_the_name(quick):
    seen = []
    words = ("-m", "seed=5", "seed=0,1", "head.dim=64", "loss=infonce", "+head.more=1", "hydra.sweep.dir=some where")
    assert quick(*words, work=lambda cfg: seen.append(folder())) == 0, quick.err
    assert [(path.parent.name, path.name) for path in seen] == [("some where", "seed=0"), ("some where", "seed=1")]


def test_folds_alone_are_a_sweep_over_each(quick):
    seen = []
    assert quick("split.folds=3", work=lambda cfg: seen.append((cfg.split.folds, cfg.split.fold, folder().name))) == 0
    assert seen == [(3, fold, f"split.fold={fold}") for fold in range(3)]
    assert "job 3 of 3, split.fold=2:" in quick.err


def test_folds_times_seeds(quick):
    seen = []
    assert quick("split.folds=2", "seed=0,1", "-m", work=lambda cfg: seen.append(folder().name)) == 0, quick.err
    assert sorted(seen) == [f"seed={seed},split.fold={fold}" for seed in (0, 1) for fold in (0, 1)]


@pytest.mark.parametrize("words", [("split.folds=5", "split.fold=2"), ("split.folds=null",)])
def test_one_fold_is_one_run(quick, words):
    seen = []
    assert quick(*words, work=lambda cfg: seen.append((cfg.split.fold, folder()))) == 0, quick.err
    ((fold, path),) = seen
    assert fold == (2 if len(words) == 2 else None) and path.parent == Path.cwd() / "runs" / "train"


@pytest.mark.parametrize(
    ("words", "folds"),
    [
        (["split.folds=5"], 5),
        (["split.folds=5", "split.fold=0"], None),
        (["split.folds=5", "split.fold=0,1"], None),
        (["split.folds=1"], None),
        (["split.folds=null"], None),
        (["split.folds=2,5"], None),
        (["seed=5"], None),
    ],
)
def test_when_folds_make_a_sweep(words, folds):
    assert folds_without_fold(OverridesParser.create().parse_overrides(words)) == folds


def test_each_cell_has_a_line_with_its_place_value_and_time(quick):
    assert quick("-m", "seed=0,1,2", work=lambda cfg: 0.25 + cfg.seed / 100) == 0
    lines = [line for line in quick.err.splitlines() if line.startswith("job ")]
    assert [line.rpartition(",")[0] for line in lines] == [
        f"job {seed + 1} of 3, seed={seed}: val/mrr {25 + seed}.0 %" for seed in range(3)
    ]


def test_the_end_says_how_many_are_finished_and_how_to_go_on(quick):
    def work(cfg):
        if cfg.seed == 1:
            raise ZeroDivisionError("no seed")
        (folder() / "metrics.json").write_text("{}")

    assert quick("-m", "seed=0,1", "hydra.sweep.dir=here", work=work) == 1
    assert "Sweep: 1 finished, 1 failed, in here. To continue, repeat the command" in quick.err
    assert json.loads(Path("here/seed=1/failed.json").read_text())["error"] == "ZeroDivisionError: no seed"


def test_a_sweep_that_is_stopped_says_how_to_go_on(quick):
    def work(cfg):
        if cfg.seed == 1:
            raise KeyboardInterrupt
        (folder() / "metrics.json").write_text("{}")

    assert quick("-m", "seed=0,1,2", "hydra.sweep.dir=here", work=work) == 130
    assert "1 finished, 0 failed" in quick.err and "with hydra.sweep.dir=here;" in quick.err


def test_a_sweep_of_evaluations_does_not_promise_to_go_on(step):
    assert step("-m", "pooling=eos,mean", step="evaluate") == 0, step.err
    assert "Sweep: " in step.err and "To continue" not in step.err


def test_a_sweep_over_shares(step):
    assert step("-m", "share=1/2,2/2", step="embed") == 0, step.err
    assert [cfg.share for cfg in step.configs] == ["1/2", "2/2"]
    assert "compute only rows that are missing in the feature store" in step.err
    assert "finished" not in step.err


def finish_or_refuse(cfg):
    if (folder() / "metrics.json").exists():
        raise UserError("contains a run with a different head.dim")
    (folder() / "metrics.json").write_text("{}")


def test_a_refused_cell_stays_a_finished_one(quick):
    words = ("-m", "seed=0,1", "hydra.sweep.dir=here")
    assert quick(*words, work=finish_or_refuse) == 0
    assert quick(*words, work=finish_or_refuse) == 2
    assert "2 finished, 0 failed" in quick.err and "2 jobs of the sweep failed:\n  seed=0: contains" in quick.err
    assert {path.name for path in Path("here").rglob("*")} == {"seed=0", "seed=1", "metrics.json", "multirun.yaml"}


def test_another_command_in_the_same_folder_takes_no_failure_away(quick, small_conf: Path):
    """A second command begins and ends there while the first has failed a cell and is at its next."""

    def work(cfg):
        if cfg.seed == 0:
            raise UserError("seed 0 is unlucky")
        second = "from style_match.cli.main import main; main('train', lambda cfg: None)"
        words = [sys.executable, "-c", second, "--config-path", str(small_conf), "-m", "seed=2,3"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run([*words, "hydra.sweep.dir=here"], check=True, capture_output=True, env=environment)

    assert quick("-m", "seed=0,1", "hydra.sweep.dir=here", work=work) == 2
    assert "1 job of the sweep failed:\n  seed=0: seed 0 is unlucky  (here/seed=0)" in quick.err
    assert Path("here/seed=0/failed.json").exists()


def test_a_cell_that_another_process_runs_is_not_noted_as_failed(quick):
    held = []

    def work(cfg):
        held.append(RunFolder(Path("here/seed=0"), resume=True))

    assert quick("-m", "seed=0,1", "hydra.sweep.dir=here", work=work) == 2
    assert "1 job of the sweep failed:\n  seed=1: Another process is writing" in quick.err
    assert not list(Path("here").glob("*/failed.json"))


def test_word_of_a_failure_goes_when_its_cell_runs_again(quick):
    def work(cfg):
        RunFolder(folder(), resume=True)
        if not unlucky:
            assert not (folder() / "failed.json").exists()
        for seed in unlucky:
            raise UserError(f"seed {seed} is unlucky")

    unlucky = [0]
    assert quick("-m", "seed=0,1", "hydra.sweep.dir=here", work=work) == 2
    assert len(list(Path("here").glob("*/failed.json"))) == 2
    unlucky = []
    assert quick("-m", "seed=0,1", "hydra.sweep.dir=here", work=work) == 0, quick.err
    assert not list(Path("here").glob("*/failed.json"))
