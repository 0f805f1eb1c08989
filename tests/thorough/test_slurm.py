"""Sweeps on a real Slurm of one node: a job array, preempted and killed, ends with the bytes of a sweep without it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

run = pytest.importorskip("experiments.slurm.run", reason="experiments are not on the path")

PLAN, one_node = run.PLAN, run.load_one_node()
WORDS = [*PLAN["long"], "seed=0,1"]


@pytest.fixture(scope="module")
def node(tmp_path_factory, cache):
    """The environment of jobs on the node."""
    if why := one_node.missing():
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    with one_node.one_node(tmp_path_factory.mktemp("slurm")) as environment:
        yield run.with_places(environment, cache)


@pytest.fixture(scope="module")
def whole(node, tmp_path_factory):
    """The sweep without Slurm."""
    sweep = run.Sweep(tmp_path_factory.mktemp("sweeps") / "whole", [*WORDS, PLAN["unpaused"]], node)
    sweep.finish()
    return sweep


def sweep_on(partition: str, whole, *words: str) -> "run.Sweep":
    return run.Sweep(whole.folder.with_name(partition), [*WORDS, *words], whole.environment, partition)


def test_preempted_jobs_are_requeued_and_go_on(whole):
    sweep = sweep_on("grace", whole, PLAN["longer"])
    told = run.interrupted(sweep, run.preempt, cells=2)
    epochs = [int(epoch) for epoch in re.findall(r"after epoch (\d+) of 80", "\n".join(told))]
    assert len(epochs) == 2 and all(0 < epoch < 80 for epoch in epochs)
    assert "Sweep: 2 finished, 0 failed" in sweep.said()
    assert run.differences(whole, sweep, finished=2) == []


def test_a_killed_job_is_told_and_the_same_command_finishes_it(whole):
    sweep = sweep_on("debug", whole)
    run.interrupted(sweep, run.kill_first, cells=2, code=1)
    job = sweep.job_of(0)
    assert f"Job {job}" in sweep.said() and "(state: FAILED)" in sweep.said() and "Traceback" not in sweep.said()
    assert list(sweep.folder.glob(f".submitit/{job}/*_log.err"))
    run.wait_for_jobs(sweep.environment)
    assert [path.name for path in sweep.finished()] == ["seed=1"]
    sweep.finish()
    assert "seed=1 is already finished" in sweep.jobs_said() and "goes on after epoch" in sweep.jobs_said()
    assert run.differences(whole, sweep, finished=2) == []


def test_no_daemon_outlives_a_command_that_fails():
    if why := one_node.missing():
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    script = Path(run.HERE / "one_node.py")
    fails = "echo $SLURM_CONF; sbatch --output=/dev/null --wrap 'sleep 100' >&2; exit 7"
    done = subprocess.run([sys.executable, script, "sh", "-c", fails], capture_output=True, text=True, timeout=120)
    assert done.returncode == 7, done.stderr
    conf = done.stdout.strip()
    assert conf.endswith("slurm.conf") and not Path(conf).exists()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            assert conf.encode() not in path.read_bytes(), path.with_name("cmdline").read_text()
        except OSError:
            continue  # ended meanwhile
