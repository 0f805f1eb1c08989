"""Sweeps on Slurm: do they end with the same bytes as sweeps without it, whatever happens to their jobs?

    python experiments/slurm/run.py --scratch FOLDER

Starts a Slurm of one node (one_node.py), runs sweeps on it through hydra/launcher=submitit_slurm, preempts, signals,
times out and kills their jobs, and compares every cell with that of a sweep without Slurm. Synthetic data.
"""

import argparse
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
PLAN = yaml.safe_load((HERE / "run.yaml").read_text())
COMPARED = ("metrics.json", "ranks.parquet", "embeddings.safetensors")


@dataclass(frozen=True)
class Sweep:
    """A sweep in a folder of its own, on Slurm where a partition is given.

    Args:
        environment: in which Slurm's commands speak to the node, and the cache is found.
    """

    folder: Path
    words: list[str]
    environment: dict[str, str]
    partition: str | None = None

    def start(self) -> subprocess.Popen:
        launcher = ["hydra/launcher=submitit_slurm", f"hydra.launcher.partition={self.partition}"]
        words = [*PLAN["overrides"], *self.words, *(launcher if self.partition else [])]
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "log.txt", "w") as log:
            # the folder is given as a relative path: the jobs find it too
            command = [sys.executable, "-m", "style_match.train", "-m", f"--config-dir={HERE / 'conf'}", *words]
            command.append(f"hydra.sweep.dir={self.folder.name}")
            place = {"cwd": self.folder.parent, "env": self.environment}
            return subprocess.Popen(command, stdout=log, stderr=log, **place)

    def finish(self, process: subprocess.Popen | None = None, *, code: int = 0) -> None:
        process = process or self.start()
        if process.wait() != code:
            raise SystemExit(f"{self.folder}: exit code {process.returncode}\n{self.said()}{self.jobs_said()}")

    def said(self) -> str:
        return (self.folder / "log.txt").read_text()

    def jobs_said(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.glob(".submitit/*/*_log.err")))

    def finished(self) -> list[Path]:
        return sorted(path.parent for path in self.folder.glob("*/metrics.json"))

    def job_of(self, number: int) -> str:
        """The Slurm job of a cell that runs, the latest where it has had several."""
        folders = sorted(self.folder.glob(".submitit/*/*_submitted.pkl"), key=lambda path: path.stat().st_mtime)
        names = [path.parent.name for path in folders]
        return next(name for name in reversed(names) if name.partition("_")[2] in ("", str(number)))

    def wait_until_begun(self, process: subprocess.Popen, cells: int) -> None:
        """Until so many cells have a checkpoint."""
        until = time.monotonic() + PLAN["wait_s"]
        while len(list(self.folder.glob("*/checkpoints/last.ckpt"))) < cells:
            if process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"No cell came to training.\n{self.said()}{self.jobs_said()}")
            time.sleep(0.1)


def differences(one: Sweep, other: Sweep, *, finished: int) -> list[str]:
    """What is not the same, bit for bit; `finished`: how many cells of `other` there must be."""
    cells = other.finished()
    found = [f"{len(cells)} cells instead of {finished}"] if len(cells) != finished else []
    for cell in cells:
        whole = one.folder / (cell.name if (one.folder / cell.name).exists() else "seed=0")  # nothing swept: cell 0
        pairs = {name: (whole / name, cell / name) for name in COMPARED}
        found += [f"{cell.name}/{name}" for name, (a, b) in pairs.items() if a.read_bytes() != b.read_bytes()]
    return found


def preempt(sweep: Sweep) -> None:
    """A job of a partition of higher priority takes the whole node."""
    wrap = ["--exclusive", "--output=/dev/null", f"--wrap=sleep {PLAN['urgent_s']}"]
    subprocess.run(["sbatch", "--partition=urgent", *wrap], env=sweep.environment, check=True, capture_output=True)


def send_usr2(sweep: Sweep) -> None:
    """The signal on which submitit has the job requeued, as `sbatch --signal` sends it."""
    subprocess.run(["scancel", "--signal=USR2", sweep.job_of(0)], env=sweep.environment, check=True)


def kill_first(sweep: Sweep) -> None:
    """SIGKILL to every process of the first cell's step."""
    shown = subprocess.run(["scontrol", "show", "job", sweep.job_of(0)], env=sweep.environment, capture_output=True)
    number = re.search(rb"JobId=(\d+)", shown.stdout)[1].decode()
    pids = subprocess.run(["scontrol", "listpids", number], env=sweep.environment, capture_output=True, text=True)
    for line in pids.stdout.splitlines()[1:]:
        pid, _, step, *_ = line.split()
        if step == "0" and int(pid) > 0:
            os.kill(int(pid), signal.SIGKILL)


def wait_for_jobs(environment: dict[str, str]) -> None:
    while subprocess.run(["squeue", "--noheader"], env=environment, capture_output=True).stdout.strip():
        time.sleep(0.5)


def interrupted(sweep: Sweep, interrupt: Callable[[Sweep], None], *, cells: int, code: int = 0) -> list[str]:
    """Run a sweep whose jobs are interrupted in training; returns what its cells say of going on."""
    process = sweep.start()
    sweep.wait_until_begun(process, cells)
    interrupt(sweep)
    sweep.finish(process, code=code)
    return re.findall(r"training: (goes on after .*)", sweep.jobs_said())


def with_places(environment: dict[str, str], cache: Path) -> dict[str, str]:
    """The environment of the node, with the cache of the runs and the place of their loss."""
    path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
    return {**environment, "STYLE_MATCH_CACHE": str(cache), "PYTHONPATH": path}


def load_one_node():
    spec = importlib.util.spec_from_file_location("one_node", HERE / "one_node.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def experiment(scratch: Path, environment: dict[str, str]) -> bool:
    """All of it; prints a line each, and returns whether every one ended as it should."""
    short, long, swept = PLAN["short"], PLAN["long"], PLAN["swept"]
    outcomes = []

    def tell(what: str, how: str, found: list[str], began: float) -> None:
        outcomes.append(not found)
        outcome = f"DIFFERENT: {', '.join(found)}" if found else "same bytes"
        print(f"{what:34}  {how:44}  {outcome}  {time.monotonic() - began:.0f} s", flush=True)

    began = time.monotonic()
    basic = Sweep(scratch / "basic", [*short, *swept], environment)
    basic.finish()
    seconds = time.monotonic() - began
    print(f"without Slurm: {len(basic.finished())} cells, {seconds:.0f} s, features computed", flush=True)
    began = time.monotonic()
    sweep = Sweep(scratch / "slurm", [*short, *swept], environment, "debug")
    sweep.finish()
    last = sweep.said().strip().splitlines()[-1]
    tell("a job array of 4", last.partition(", in ")[0], differences(basic, sweep, finished=4), began)
    whole = Sweep(scratch / "whole", [*long, PLAN["unpaused"], "seed=0,1"], environment)
    whole.finish()
    ways: list[tuple[str, str, list[str], Callable[[Sweep], None]]] = [
        ("preempted", "debug", [], preempt),
        ("preempted with 5 s of grace", "grace", [], preempt),
        ("sent USR2", "debug", [], send_usr2),
        ("out of time, may be requeued twice", "debug", [*PLAN["out_of_time"], PLAN["requeued"]], send_usr2),
    ]
    for number, (what, partition, words, interrupt) in enumerate(ways):
        began = time.monotonic()
        sweep = Sweep(scratch / f"long{number}", [*long, "seed=0", *words], environment, partition)
        told = interrupted(sweep, interrupt, cells=1)
        found = differences(whole, sweep, finished=1) if told else ["was not interrupted"]
        tell(what, "; ".join(told), found, began)
    ends: list[tuple[str, list[str], Callable[[Sweep], None], int]] = [
        ("killed with SIGKILL", [], kill_first, 1),
        ("out of time", PLAN["out_of_time"], send_usr2, 2),
    ]
    for number, (what, words, interrupt, code) in enumerate(ends):
        began = time.monotonic()
        sweep = Sweep(scratch / f"ended{number}", [*long, "seed=0,1", *words], environment, "debug")
        interrupted(sweep, interrupt, cells=2, code=code)
        print(f"\n{what}; the sweep ends with exit code {code} and\n{sweep.said().partition('Sweep: ')[2]}", flush=True)
        wait_for_jobs(environment)
        sweep.finish()
        told = re.findall(r"training: (goes on after .*)|(\S+ is finished already)", sweep.jobs_said())
        tell("the same command", "; ".join(max(pair) for pair in told), differences(whole, sweep, finished=2), began)
    report = [sys.executable, "-m", "style_match.report", f"sweep={scratch / 'slurm'}", "report.min_seeds=1"]
    shown = subprocess.run(report, env=environment, capture_output=True, text=True)
    print(f"\nstyle_match.report sweep=slurm, exit code {shown.returncode}\n{shown.stdout or shown.stderr}")
    return all(outcomes) and shown.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for caches and runs; must be new")
    scratch = parser.parse_args().scratch.absolute()
    scratch.mkdir(parents=True)
    with load_one_node().one_node(scratch / "node") as environment:
        version = subprocess.run(["sinfo", "--version"], env=environment, capture_output=True, text=True).stdout.strip()
        print(f"{version}, {os.cpu_count()} cores. Synthetic data.\n", flush=True)
        if not experiment(scratch, with_places(environment, scratch / "cache")):
            sys.exit(1)


if __name__ == "__main__":
    main()
