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
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
PLAN = yaml.safe_load((HERE / "run.yaml").read_text())
PARTS = ("arrays", "requeued", "ended")
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


def tell(what: str, how: str, found: list[str], began: float) -> bool:
    outcome = f"DIFFERENT: {', '.join(found)}" if found else "same bytes"
    print(f"{what:36}  {how:46}  {outcome}  {time.monotonic() - began:.0f} s", flush=True)
    return not found


def arrays(scratch: Path, environment: dict[str, str]) -> Iterator[bool]:
    """A sweep with and without Slurm, and the table of the one with."""
    words, began = [*PLAN["short"], *PLAN["swept"]], time.monotonic()
    basic = Sweep(scratch / "basic", words, environment)
    basic.finish()
    seconds = time.monotonic() - began
    print(f"without Slurm: {len(basic.finished())} cells, {seconds:.0f} s, features computed", flush=True)
    began = time.monotonic()
    sweep = Sweep(scratch / "slurm", words, environment, "debug")
    sweep.finish()
    last = sweep.said().strip().splitlines()[-1]
    yield tell("a job array of 4", last.partition(", in ")[0], differences(basic, sweep, finished=4), began)
    command = [sys.executable, "-m", "style_match.report", f"sweep={sweep.folder}"]
    command += ["table=table3", "report.min_seeds=1"]
    shown = subprocess.run(command, env=environment, capture_output=True, text=True)
    print(
        f"\nstyle_match.report sweep=slurm table=table3, exit code {shown.returncode}\n{shown.stdout or shown.stderr}",
        flush=True,
    )
    yield shown.returncode == 0


def requeued(whole: Sweep) -> Iterator[bool]:
    """Jobs that Slurm or submitit starts again by itself."""
    ways: list[tuple[str, str, list[str], Callable[[Sweep], None]]] = [
        ("preempted", "debug", [], preempt),
        ("preempted with 5 s of grace", "grace", [PLAN["longer"]], preempt),
        ("sent USR2", "debug", [], send_usr2),
        ("out of time, may be requeued twice", "debug", [*PLAN["out_of_time"], PLAN["requeued"]], send_usr2),
    ]
    for number, (what, partition, words, interrupt) in enumerate(ways):
        began = time.monotonic()
        words = [*PLAN["long"], "seed=0", *words]
        sweep = Sweep(whole.folder.with_name(f"requeued{number}"), words, whole.environment, partition)
        told = interrupted(sweep, interrupt, cells=1)
        found = differences(whole, sweep, finished=1) if told else ["was not interrupted"]
        yield tell(what, "; ".join(told), found, began)


def ended(whole: Sweep) -> Iterator[bool]:
    """Jobs that are lost, and the same command again."""
    ways: list[tuple[str, list[str], Callable[[Sweep], None], int]] = [
        ("killed with SIGKILL", [], kill_first, 1),
        ("out of time", PLAN["out_of_time"], send_usr2, 2),
    ]
    for number, (what, words, interrupt, code) in enumerate(ways):
        began = time.monotonic()
        words = [*PLAN["long"], "seed=0,1", *words]
        sweep = Sweep(whole.folder.with_name(f"ended{number}"), words, whole.environment, "debug")
        interrupted(sweep, interrupt, cells=2, code=code)
        print(f"\n{what}; the sweep ends with exit code {code} and\n{sweep.said().partition('Sweep: ')[2]}", flush=True)
        wait_for_jobs(whole.environment)
        sweep.finish()
        told = re.findall(r"training: (goes on after .*)|(\S+ is finished already)", sweep.jobs_said())
        found = differences(whole, sweep, finished=2)
        yield tell("the same command again", "; ".join(max(pair) for pair in told), found, began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="new folder for caches and runs")
    parser.add_argument("--parts", nargs="+", default=PARTS, choices=PARTS)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the node is taken down then too
    scratch = args.scratch.absolute()
    scratch.mkdir(parents=True)
    with load_one_node().one_node(scratch / "node") as node:
        version = subprocess.run(["sinfo", "--version"], env=node, capture_output=True, text=True).stdout.strip()
        print(f"{version}, {os.cpu_count()} cores. Synthetic data.\n", flush=True)
        environment = with_places(node, scratch / "cache")
        whole = Sweep(scratch / "whole", [*PLAN["long"], PLAN["unpaused"], "seed=0,1"], environment)
        outcomes = list(arrays(scratch, environment)) if "arrays" in args.parts else []
        if {"requeued", "ended"} & set(args.parts):
            whole.finish()
        outcomes += requeued(whole) if "requeued" in args.parts else []
        outcomes += ended(whole) if "ended" in args.parts else []
    if not all(outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
