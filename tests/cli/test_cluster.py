"""Sweeps on Slurm, as far as a machine without it can show."""

import pytest

pytest.importorskip("hydra_plugins.hydra_submitit_launcher", reason="extra style_match[launchers]")

pytestmark = pytest.mark.integration
SWEEP = ("-m", "seed=0,1", "hydra/launcher=submitit_slurm", "hydra.sweep.dir=sweep")


def test_without_slurm_the_launcher_says_so(step, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="srun"):
        step(*SWEEP)


def test_a_job_of_several_tasks_is_refused_in_it(quick):
    """`env_set` stands for the environment of such a job, which the command that submits it does not have."""
    variables = ("SLURM_PROCID=0", "SLURM_STEP_NUM_TASKS=2", "SLURM_LOCALID=0")
    tasks = [f"+hydra.job.env_set.{name}='{value}'" for name, _, value in (each.partition("=") for each in variables)]
    assert quick("-m", "seed=0", "hydra.sweep.dir=sweep", *tasks) == 2
    assert "srun started 2 processes of a sweep" in quick.err and "Traceback" not in quick.err
