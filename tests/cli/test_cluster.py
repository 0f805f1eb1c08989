"""What a sweep says where Slurm is not there, or takes no job."""

import sys
from pathlib import Path

import pytest

from style_match.cli import main

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="extra style_match[launchers]")

pytestmark = pytest.mark.integration
SWEEP = ("-m", "seed=0,1", "hydra/launcher=submitit_slurm", "hydra.sweep.dir=sweep")


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`slurm(srun="", sbatch=SCRIPT)`: only these commands are found."""
    place = tmp_path / "bin"
    place.mkdir()
    monkeypatch.setenv("PATH", str(place))

    def have(**commands: str) -> None:
        for name, script in commands.items():
            (place / name).write_text(f"#!{sys.executable}\nimport sys\n{script}\n")
            (place / name).chmod(0o755)

    return have


def test_without_slurm_the_launcher_says_where_to_start(step, slurm):
    assert step(*SWEEP) == 2
    assert "Slurm's commands are not on this machine" in step.err and "hydra/launcher=joblib" in step.err
    assert "Traceback" not in step.err


def test_jobs_that_slurm_refuses_are_answered_in_its_words(run_step, slurm, tmp_path):
    slurm(srun="", sbatch="sys.exit('sbatch: error: invalid partition specified: fast')")
    done = run_step("train", *SWEEP, "hydra.launcher.partition=fast", code=2, cwd=tmp_path)
    assert "Slurm refused the jobs: invalid partition specified: fast." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_job_out_of_time_is_told_the_options_that_give_it_more():
    core = pytest.importorskip("submitit.core.utils", reason="extra style_match[launchers]")
    mistake = main.mistake(core.UncompletedJobError("Job not requeued because: timed-out too many times."))
    assert "hydra.launcher.timeout_min" in str(mistake) and "hydra.launcher.max_num_timeout" in str(mistake)
    assert main.mistake(RuntimeError("timed-out")) is None and main.lost_job(RuntimeError("Job 1")) is None


def test_a_job_of_several_tasks_is_refused_in_it(quick):
    """`env_set` stands for the environment of such a job, which the command that submits it does not have."""
    variables = ("SLURM_PROCID=0", "SLURM_STEP_NUM_TASKS=2", "SLURM_LOCALID=0")
    tasks = [f"+hydra.job.env_set.{name}='{value}'" for name, _, value in (each.partition("=") for each in variables)]
    assert quick("-m", "seed=0", "hydra.sweep.dir=sweep", *tasks) == 2
    assert "srun started 2 processes of style_match.train" in quick.err and "Traceback" not in quick.err
