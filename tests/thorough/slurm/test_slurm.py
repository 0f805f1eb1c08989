"""Sweeps on a real Slurm of one node: interrupted jobs end with the results of a sweep without Slurm."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.thorough.slurm.one_node import missing, one_node

HERE = Path(__file__).resolve().parent
RUN = ("data.num_couples=80", "sampler.batch_size=16", "head.hidden_dim=64", "optimizer.lr=0.002", "head.dim=32")
RUN += ("loss=paused", "trainer.max_epochs=80", "trainer.early_stopping.patience=80")  # does not stop early
OUT_OF_TIME = ("hydra.launcher.timeout_min=10",)  # with 10 minutes or less submitit takes USR2 for the time limit
WAIT_S = 300  # for the first checkpoint
URGENT_S = 3  # time of the preempting job


@dataclass(frozen=True)
class Sweep:
    """A sweep in its folder, on Slurm if a partition is given."""

    folder: Path
    words: tuple[str, ...]
    environment: dict[str, str]
    partition: str | None = None

    def start(self) -> subprocess.Popen:
        launcher = ["hydra/launcher=submitit_slurm", f"hydra.launcher.partition={self.partition}"]
        words = [*RUN, *self.words, *(launcher if self.partition else [])]
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log.txt", "w") as log:
            command = [sys.executable, "-m", "style_match.train", "-m", f"--config-dir={HERE / 'conf'}", *words]
            command.append(f"hydra.sweep.dir={self.folder.name}")  # the jobs find a relative path too
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder.parent, env=self.environment)

    def finish(self, process: subprocess.Popen | None = None, *, code: int = 0) -> None:
        process = process or self.start()
        assert process.wait() == code, self.output() + self.job_output()

    def output(self) -> str:
        return (self.folder / "log.txt").read_text()

    def job_output(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob(".submitit/*/*_log.err")))

    def finished(self) -> list[str]:
        return sorted(path.parent.name for path in self.folder.glob("*/metrics.json"))

    def job_of(self, number: int) -> str:
        """The latest Slurm job of the sweep's job with this number."""
        folders = sorted(self.folder.glob(".submitit/*/*_submitted.pkl"), key=lambda path: path.stat().st_mtime)
        names = [path.parent.name for path in folders]
        return next(name for name in reversed(names) if name.partition("_")[2] in ("", str(number)))

    def interrupt(self, how: Callable[["Sweep"], None], *, jobs: int, code: int = 0) -> list[int]:
        """Run the sweep, interrupt its jobs in training, and return the epochs after which jobs resumed."""
        process, until = self.start(), time.monotonic() + WAIT_S
        while len(list(self.folder.glob("*/checkpoints/last.ckpt"))) < jobs:
            assert process.poll() is None and time.monotonic() < until, self.output() + self.job_output()
            time.sleep(0.1)
        how(self)
        self.finish(process, code=code)
        return [int(epoch) for epoch in re.findall(r"training: resumes after epoch (\d+) of 80", self.job_output())]


@pytest.fixture(scope="module")
def node(tmp_path_factory, cache):
    """The environment of jobs on the node."""
    if why := missing():
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    with one_node(tmp_path_factory.mktemp("slurm")) as environment:
        path = os.pathsep.join(filter(None, [str(HERE.parents[2]), os.environ.get("PYTHONPATH")]))
        yield {**environment, "STYLE_MATCH_CACHE": str(cache), "PYTHONPATH": path}


@pytest.fixture(scope="module")
def without_slurm(node, tmp_path_factory) -> Sweep:
    sweep = Sweep(tmp_path_factory.mktemp("sweeps") / "without", ("seed=0,1", "loss.pause_s=0"), node)
    sweep.finish()
    return sweep


@pytest.fixture
def sweep_on(without_slurm, tmp_path) -> Callable[..., Sweep]:
    def make(partition: str, *words: str) -> Sweep:
        return Sweep(tmp_path / "sweep", ("seed=0,1", *words), without_slurm.environment, partition)

    return make


def check_same_results(one: Sweep, other: Sweep) -> None:
    assert one.finished() == other.finished() == ["seed=0", "seed=1"]
    for job in one.finished():
        first, second = one.folder / job, other.folder / job
        for name in ("metrics.json", "ranks.parquet"):
            assert (first / name).read_bytes() == (second / name).read_bytes(), f"{job}/{name}"
        tensors, others = (load_file(folder / "embeddings.safetensors") for folder in (first, second))
        assert all(torch.equal(tensors[name], others[name]) for name in tensors)


def preempt(sweep: Sweep) -> None:
    """A job of a partition of higher priority takes the node."""
    wrap = ["--exclusive", "--output=/dev/null", f"--wrap=sleep {URGENT_S}"]
    subprocess.run(["sbatch", "--partition=urgent", *wrap], env=sweep.environment, check=True, capture_output=True)


def send_usr2(sweep: Sweep) -> None:
    """The signal on which submitit requeues a job, or ends it if its time is up."""
    subprocess.run(["scancel", "--signal=USR2", sweep.job_of(0)], env=sweep.environment, check=True)


def kill_first(sweep: Sweep) -> None:
    """SIGKILL to every process of the first job."""
    shown = subprocess.run(["scontrol", "show", "job", sweep.job_of(0)], env=sweep.environment, capture_output=True)
    number = re.search(rb"JobId=(\d+)", shown.stdout)[1].decode()
    pids = subprocess.run(["scontrol", "listpids", number], env=sweep.environment, capture_output=True, text=True)
    for line in pids.stdout.splitlines()[1:]:
        pid, _, step, *_ = line.split()
        if step == "0" and int(pid) > 0:
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize(
    ("partition", "words", "how", "jobs"),
    [
        # Slurm may end a preempted job half a minute after its grace time
        pytest.param("grace", ("loss.pause_s=0.5",), preempt, 2, id="preempted"),
        pytest.param("debug", (), send_usr2, 1, id="signalled"),
        pytest.param("debug", (*OUT_OF_TIME, "hydra.launcher.max_num_timeout=2"), send_usr2, 1, id="out of time"),
    ],
)
def test_requeued_jobs_resume(without_slurm, sweep_on, partition, words, how, jobs):
    sweep = sweep_on(partition, *words)
    epochs = sweep.interrupt(how, jobs=2)
    assert len(epochs) == jobs and all(0 < epoch < 80 for epoch in epochs)
    assert "Sweep: 2 finished, 0 failed" in sweep.output()
    check_same_results(without_slurm, sweep)


@pytest.mark.parametrize(
    ("words", "how", "reason"),
    [
        pytest.param((), kill_first, "(state: FAILED)", id="killed"),
        pytest.param(OUT_OF_TIME, send_usr2, "timed-out too many times", id="out of time"),
    ],
)
def test_the_same_command_finishes_a_lost_job(without_slurm, sweep_on, words, how, reason):
    sweep = sweep_on("debug", *words)
    sweep.interrupt(how, jobs=2, code=1)
    job = sweep.job_of(0)
    assert reason in sweep.output() and "Traceback" not in sweep.output()
    assert f"Job {job}" in sweep.output() or how is send_usr2
    assert list(sweep.folder.glob(f".submitit/{job}/*_log.err"))
    while subprocess.run(["squeue", "--noheader"], env=sweep.environment, capture_output=True).stdout.strip():
        time.sleep(0.5)
    assert sweep.finished() == ["seed=1"]
    sweep.finish()
    assert "seed=1 is finished already" in sweep.job_output() and "resumes after epoch" in sweep.job_output()
    check_same_results(without_slurm, sweep)
