"""Photos divided among processes that share nothing but the photos and the feature store, one of which is killed.

    python experiments/shares/run.py --scratch FOLDER

Each process stands for a machine: it has a cache of its own. Synthetic data; Linux only.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import load_file

from style_match.utils.distributed import Share

PLAN = yaml.safe_load(Path(__file__).with_name("shares.yaml").read_text())
POLL_S = 0.02


@dataclass(frozen=True)
class Machine:
    """A cache of its own; photos and store lie in `shared`."""

    name: str
    shared: Path
    num_threads: int = 1

    @property
    def log(self) -> Path:
        return self.shared / f"{self.name}.log"

    def start(self, *words: str, store: str) -> subprocess.Popen:
        """`style_match.embed` with these words, writing into the store of that name."""
        places = (f"data.root={self.shared / 'photos'}", f"features.root={self.shared / store}")
        runs = f"hydra.run.dir={self.shared / self.name}"
        command = [sys.executable, "-m", "style_match.embed", *PLAN["overrides"], *places, runs, *words]
        own = {"STYLE_MATCH_CACHE": str(self.shared / "caches" / self.name), "OMP_NUM_THREADS": str(self.num_threads)}
        with open(self.log, "w") as log:
            return subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log, start_new_session=True)

    def said(self) -> list[str]:
        """The lines it printed, without those about progress."""
        lines = self.log.read_text().splitlines()
        return [line.partition(" (/")[0] for line in lines if not line.startswith(("embedding: ", "drawing "))]


@dataclass(frozen=True)
class Story:
    """What a killed process left, and what became of it.

    `before` and `after` are the rows (hex addresses) in the store when the others had ended, and after the rerun.
    """

    before: set[str]
    after: set[str]
    codes: list[int]
    said: list[str]


def addresses(store: Path) -> list[str]:
    """Every row in the shards of a store, as often as it stands there."""
    return [row.tobytes().hex() for shard in _shards(store) for row in shard["rows"]]


def vectors(store: Path) -> dict[tuple[str, str], np.ndarray]:
    """(address, pooling) -> (D,) of a store that holds no row twice."""
    return {
        (row.tobytes().hex(), pooling): shard[pooling][i]
        for shard in _shards(store)
        for i, row in enumerate(shard["rows"])
        for pooling in shard.keys() - {"rows", "checksums", "owners"}
    }


def _shards(store: Path) -> Iterator[dict[str, np.ndarray]]:
    for path in sorted(store.glob("*/*.safetensors")):
        yield load_file(path)


def largest_difference(one: Path, other: Path) -> float:
    """Between the vectors of two stores, as a share of the largest value; they must hold the same rows."""
    a, b = vectors(one), vectors(other)
    assert a.keys() == b.keys()
    return max(float(np.abs(a[key] - b[key]).max()) for key in a) / max(
        float(np.abs(each).max()) for each in a.values()
    )


def timed(machines: list[Machine], shares: list[str], store: str) -> tuple[float, float]:
    """Seconds until all processes have ended, and CPU seconds that they took together."""
    began, before = time.monotonic(), os.times()
    running = [
        machine.start(*([f"share={share}"] if share else []), store=store)
        for machine, share in zip(machines, shares, strict=True)
    ]
    for machine, process in zip(machines, running, strict=True):
        if process.wait():
            raise SystemExit(machine.log.read_text())
    after = os.times()
    cpu_s = sum(getattr(after, kind) - getattr(before, kind) for kind in ("children_user", "children_system"))
    return time.monotonic() - began, cpu_s


def kill_one(shared: Path, *, num: int, killed: int, after_rows: int) -> Story:
    """Start `num` processes side by side, kill one when it has so many rows in the store, then run without a share."""
    share, store = Share(killed, num), shared / "killed"
    machines = [Machine(f"share {number} of {num}", shared) for number in range(1, num + 1)]
    running = [machine.start(f"share={i}/{num}", store=store.name) for i, machine in enumerate(machines, 1)]
    victim = running[killed - 1]
    while sum(map(share.holds, addresses(store))) < after_rows and victim.poll() is None:
        time.sleep(POLL_S)
    os.killpg(victim.pid, signal.SIGKILL)
    codes = [process.wait() for process in running]
    before = addresses(store)
    said = [line for machine, code in zip(machines, codes, strict=True) if code == 0 for line in machine.said()]
    rerun = Machine("rerun", shared)
    codes.append(rerun.start(store=store.name).wait())
    after = addresses(store)
    assert len(before) == len({*before}) and len(after) == len({*after}), "a row was computed twice"
    return Story({*before}, {*after}, codes, [*said, *rerun.said()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for photos, caches and stores")
    shared = parser.parse_args().scratch.absolute()
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(parents=True)
    timed([Machine("drawing", shared)], [PLAN["nothing"]], "drawn")
    print(f"Synthetic data, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f} before\n", flush=True)
    for name, processes in PLAN["side_by_side"].items():
        num, num_threads = processes["num"], processes["num_threads"]
        machines = [Machine(f"{name} {number}", shared, num_threads) for number in range(1, num + 1)]
        shares = [f"{number}/{num}" for number in range(1, num + 1)] if num > 1 else [""]
        seconds, cpu_s = timed(machines, shares, name)
        print(f"{name + ':':36} {seconds:5.1f} s, {cpu_s:.1f} s of CPU, load {os.getloadavg()[0]:.1f}", flush=True)
        for machine in machines:
            print(f"    {next(line for line in machine.said() if 'computed' in line)}")
    names = list(PLAN["side_by_side"])
    differences = [largest_difference(shared / one, shared / other) for one, other in combinations(names, 2)]
    print(f"largest difference between their vectors: {max(differences):.1e} of the largest value\n", flush=True)

    plan = PLAN["kill"]
    num, share = plan["num"], Share(plan["killed"], plan["num"])
    story = kill_one(shared, **plan)
    lacked = story.after - story.before
    of_share = {
        each: sum(map(each.holds, story.after)) for each in (Share(number, num) for number in range(1, num + 1))
    }
    print(f"{num} processes, {share} killed; exit codes {story.codes[:-1]}, of the rerun {story.codes[-1]}")
    print("\n".join(f"    {line}" for line in story.said))
    print(f"rows by share: {', '.join(f'{each} {count}' for each, count in of_share.items())}")
    print(f"of {share} in the store when it was killed: {sum(map(share.holds, story.before))}")
    print(f"lost of the other shares: {sum(not share.holds(row) for row in lacked)}")
    print(f"computed by the rerun: {len(lacked)}; rows twice in the store: 0")
    difference = largest_difference(shared / names[0], shared / "killed")
    print(f"largest difference to the vectors of one process: {difference:.1e} of the largest value")
    if difference > PLAN["tolerance"] or sum(map(bool, story.codes)) != 1:
        sys.exit(1)


if __name__ == "__main__":
    main()
