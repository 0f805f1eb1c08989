"""Photos divided among processes that share only the photos and the feature store; one process is killed.

    python experiments/shares/run.py --scratch FOLDER

Each process stands for a machine and has another cache. Synthetic data; Linux only.
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
from pathlib import Path

import numpy as np
import yaml
from safetensors.numpy import load_file

from style_match.utils.distributed import Share

PLAN = yaml.safe_load(Path(__file__).with_name("shares.yaml").read_text())
POLL_S = 0.02


@dataclass(frozen=True)
class Machine:
    """A process with its cache; photos and store are in `shared`."""

    name: str
    shared: Path

    @property
    def log(self) -> Path:
        return self.shared / f"{self.name}.log"

    def start(self, *words: str, store: str) -> subprocess.Popen:
        """Start `style_match.embed` with these words, writing into the store of that name."""
        places = (f"data.root={self.shared / 'photos'}", f"features.root={self.shared / store}")
        runs = f"hydra.run.dir={self.shared / self.name}"
        command = [sys.executable, "-m", "style_match.embed", *PLAN["overrides"], *places, runs, *words]
        environment = {**os.environ, "STYLE_MATCH_CACHE": str(self.shared / "caches" / self.name)}
        with open(self.log, "w") as log:
            return subprocess.Popen(
                command, env=environment | {"OMP_NUM_THREADS": "1"}, stdout=log, stderr=log, start_new_session=True
            )

    def output(self) -> list[str]:
        """Return the printed lines, without those about progress."""
        lines = self.log.read_text().splitlines()
        return [line.partition(" (/")[0] for line in lines if not line.startswith(("embedding: ", "drawing "))]


@dataclass(frozen=True)
class Story:
    """The store after a kill, and after the rerun.

    Attributes:
        before: Rows (hex addresses) in the store when the other processes had ended.
        after: Rows in the store after the rerun.
        codes: Exit codes; the last one is that of the rerun.
        output: Lines that the processes printed.
    """

    before: set[str]
    after: set[str]
    codes: list[int]
    output: list[str]


def addresses(store: Path) -> list[str]:
    """Return every row in the shards of a store, repeated if the store has it twice."""
    return [row.tobytes().hex() for shard in _shards(store) for row in shard["rows"]]


def vectors(store: Path) -> dict[tuple[str, str], np.ndarray]:
    """Return (address, pooling) -> (D,) of a store that has no row twice."""
    return {
        (row.tobytes().hex(), pooling): shard[pooling][i]
        for shard in _shards(store)
        for i, row in enumerate(shard["rows"])
        for pooling in shard.keys() - {"rows", "owners"}
    }


def _shards(store: Path) -> Iterator[dict[str, np.ndarray]]:
    for path in sorted(store.glob("*/*.safetensors")):
        yield load_file(path)


def largest_difference(one: Path, other: Path) -> float:
    """Return the largest difference between the vectors of two stores, as a share of the largest value."""
    a, b = vectors(one), vectors(other)
    assert a.keys() == b.keys()
    return max(float(np.abs(a[key] - b[key]).max()) for key in a) / max(float(np.abs(row).max()) for row in a.values())


def embed_alone(shared: Path) -> None:
    """Embed all photos in one process, into the store `whole`."""
    machine = Machine("whole", shared)
    if machine.start(store="whole").wait():
        raise SystemExit(machine.log.read_text())


def kill_one(shared: Path, *, num: int, killed: int, after_rows: int) -> Story:
    """Start `num` processes, kill one when it has so many rows in the store, then run without a share."""
    share, store = Share(killed, num), shared / "killed"
    machines = [Machine(f"share {number} of {num}", shared) for number in range(1, num + 1)]
    running = [machine.start(f"share={i}/{num}", store=store.name) for i, machine in enumerate(machines, 1)]
    victim = running[killed - 1]
    while sum(map(share.holds, addresses(store))) < after_rows and victim.poll() is None:
        time.sleep(POLL_S)
    os.killpg(victim.pid, signal.SIGKILL)
    codes = [process.wait() for process in running]
    before = addresses(store)
    output = [line for machine, code in zip(machines, codes, strict=True) if code == 0 for line in machine.output()]
    rerun = Machine("rerun", shared)
    codes.append(rerun.start(store=store.name).wait())
    after = addresses(store)
    assert len(before) == len({*before}) and len(after) == len({*after}), "a row was computed twice"
    return Story({*before}, {*after}, codes, [*output, *rerun.output()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for photos, caches and stores")
    shared = parser.parse_args().scratch.absolute()
    shutil.rmtree(shared, ignore_errors=True)
    shared.mkdir(parents=True)
    embed_alone(shared)
    plan = PLAN["kill"]
    num, share = plan["num"], Share(plan["killed"], plan["num"])
    story = kill_one(shared, **plan)
    lacked = story.after - story.before
    counts = {each: sum(map(each.holds, story.after)) for each in (Share(i, num) for i in range(1, num + 1))}
    print(f"Synthetic data. {num} processes, {share} killed; exit codes {story.codes[:-1]}, rerun {story.codes[-1]}")
    print("\n".join(f"    {line}" for line in story.output))
    print(f"rows by share: {', '.join(f'{each} {count}' for each, count in counts.items())}")
    print(f"of {share} in the store when it was killed: {sum(map(share.holds, story.before))}")
    print(f"lost of the other shares: {sum(not share.holds(row) for row in lacked)}")
    print(f"computed by the rerun: {len(lacked)}; rows twice in the store: 0")
    difference = largest_difference(shared / "whole", shared / "killed")
    print(f"largest difference to the vectors of one process: {difference:.1e} of the largest value")
    if difference > PLAN["tolerance"] or sum(map(bool, story.codes)) != 1:
        sys.exit(1)


if __name__ == "__main__":
    main()
