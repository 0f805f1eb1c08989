"""Does a killed run end as one that nobody killed?

    python experiments/kills/kills.py --kills 20 --seed 0 --scratch FOLDER

Trains once without a kill, from an empty cache. Then, at random moments of every phase, kills the same command with
SIGKILL, goes on as the README says, and compares everything that a run leaves behind. Synthetic data; Linux only.
"""

import argparse
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import load_file

PLAN = yaml.safe_load(Path(__file__).with_name("kills.yaml").read_text())
PHASES = ("starting", "drawing", "embedding", "training", "writing")
# What stands in the cache before a phase begins.
CACHED = {"starting": (), "drawing": (), "embedding": ("demo",), "training": ("",), "writing": ("",)}
COMPARED = ("metrics.json", "ranks.parquet", "embeddings.safetensors", "rejected.csv", "tsne.png")
POLL_S = 0.002


@dataclass(frozen=True)
class Place:
    """A cache and a run folder of their own, and what the run prints."""

    root: Path

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def start(self, *words: str) -> subprocess.Popen:
        """A command in a process group of its own."""
        self.root.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "STYLE_MATCH_CACHE": str(self.cache)}
        with open(self.root / "log.txt", "w") as log:
            command = [sys.executable, "-m", "style_match.train", *words]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def finish(self, *words: str) -> None:
        if self.start(*words).wait():
            raise SystemExit(f"train {' '.join(words)}\n{(self.root / 'log.txt').read_text()}")

    def phase(self) -> int:
        """How far the command that runs is, as a position in PHASES."""
        log = (self.root / "log.txt").read_text()
        if re.search(r"^training: \d+ epochs", log, re.M):
            return 4
        if "features: " in log:
            return 3
        if (self.run / "config.yaml").exists() and any(self.cache.glob("demo/*/demo.json")):
            return 2
        return int(any(self.cache.glob("demo/*/demo.partial.json")))

    def left_behind(self) -> str:
        photos = len(list(self.cache.glob("demo/*/images/[fm]*.jpg")))
        shards = len(list(self.cache.glob("features/*/*.safetensors")))
        names = ("embeddings.safetensors", "tsne.png", "checkpoints/last.ckpt", "checkpoints/best.ckpt", "config.yaml")
        found = [name for name in ("metrics.json", *names) if (self.run / name).exists()]
        run = Path(found[0]).name if found else "an empty run folder" if self.run.exists() else "no run folder"
        return f"{photos} photos, {shards} shards, {run}"

    @cached_property
    def features(self) -> dict[tuple[bytes, str], torch.Tensor]:
        """(address, pooling) -> vector of the store."""
        found = {}
        for path in sorted(self.cache.glob("features/*/*.safetensors")):
            shard = load_file(path)
            addresses = [row.numpy().tobytes() for row in shard["rows"]]
            for pooling in shard.keys() - {"rows", "checksums"}:
                found |= {(address, pooling): shard[pooling][i] for i, address in enumerate(addresses)}
        return found

    def curves(self) -> dict[str, dict[str, str]]:
        """epoch -> what was logged of it."""
        epochs: dict[str, dict[str, str]] = {}
        for path in self.run.glob("csv/version_*/metrics.csv"):
            with open(path, newline="") as file:
                for row in csv.DictReader(file):
                    if row.get("epoch"):  # not the row of the results
                        epochs.setdefault(row["epoch"], {}).update({k: v for k, v in row.items() if v})
        return epochs


def uninterrupted(place: Place) -> list[float]:
    """Run the command from an empty cache; returns how many seconds each phase took."""
    process = place.start(*PLAN["overrides"], f"hydra.run.dir={place.run}")
    began = {0: time.monotonic()}
    while process.poll() is None:
        began.setdefault(place.phase(), time.monotonic())
        time.sleep(POLL_S)
    if process.returncode:
        raise SystemExit((place.root / "log.txt").read_text())
    moments = [*(began[phase] for phase in range(len(PHASES))), time.monotonic()]
    return [end - begin for begin, end in pairwise(moments)]


def kill(whole: Place, place: Place, phase: int, after_s: float, *, alone: bool) -> bool:
    """Kill the command so many seconds after a phase began; False where it ended before.

    Args:
        alone: only the process itself, as the system does when memory runs out; else its whole group.
    """
    shutil.rmtree(place.root, ignore_errors=True)
    for part in CACHED[PHASES[phase]]:
        shutil.copytree(whole.cache / part, place.cache / part)
    if PHASES[phase] == "embedding":
        shutil.rmtree(next(place.cache.glob("demo/*/splits")))
    process = place.start(*PLAN["overrides"], f"hydra.run.dir={place.run}")
    while place.phase() < phase and process.poll() is None:
        time.sleep(POLL_S)
    time.sleep(after_s)
    os.kill(process.pid, signal.SIGKILL) if alone else os.killpg(process.pid, signal.SIGKILL)
    until = time.monotonic() + PLAN["orphans_s"]
    while alive(process.pid) and time.monotonic() < until:
        time.sleep(POLL_S)
    if orphans := alive(process.pid):
        os.killpg(process.pid, signal.SIGKILL)
        raise SystemExit(f"{len(orphans)} processes outlived the one that started them.")
    return process.wait() == -signal.SIGKILL


def alive(group: int) -> list[int]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, group_of = path.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        if int(group_of) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


def go_on(place: Place) -> str:
    """Finish what was killed, as the README says; returns with which words."""
    if not (place.run / "config.yaml").exists():
        place.finish(*PLAN["overrides"], f"hydra.run.dir={place.run}")
        return "the same command"
    words = ["ckpt_path=last"] if (place.run / "checkpoints" / "last.ckpt").exists() else []
    place.finish(f"run={place.run}", *words)
    return " ".join(["run=RUN", *words])


def differences(one: Place, other: Place) -> list[str]:
    """What is not the same, bit for bit, after two runs."""
    found = [name for name in COMPARED if (one.run / name).read_bytes() != (other.run / name).read_bytes()]
    weights, selected, data = [], [], []
    for place in (one, other):
        weights.append(torch.load(place.run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"])
        provenance = json.loads((place.run / "provenance.json").read_text())
        selected.append((provenance["selected"], provenance["data"]["fingerprint"]))
        drawn = next(place.cache.glob("demo/*/"))
        paths = [path for path in drawn.rglob("*") if path.is_file() and not path.name.startswith(".")]
        data.append({path.relative_to(drawn): path.read_bytes() for path in paths})
    if not all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0] | weights[1]):
        found.append("best.ckpt")
    facts = {"provenance.json": selected, "the dataset folder": data, "the curves": [one.curves(), other.curves()]}
    found += [name for name, (a, b) in facts.items() if a != b]
    if any(other.run.rglob("*.tmp")):
        found.append("unfinished files")
    return found


def compare(whole: Place, place: Place, *, embedding: bool) -> str:
    """`identical`, `within tolerance: ...` or `DIFFERENT: ...`."""
    found = differences(whole, place)
    if not found:
        return "identical"
    if not embedding:
        return f"DIFFERENT: {', '.join(found)}"
    a, b = whole.features, place.features
    largest = max(float(vector.abs().max()) for vector in a.values())
    features = max(float((a[key] - b[key]).abs().max()) for key in a) / largest if a.keys() == b.keys() else np.inf
    again = Place(place.root / "again")
    shutil.copytree(place.cache, again.cache)
    again.finish(*PLAN["overrides"], f"hydra.run.dir={again.run}")
    if features > PLAN["tolerance"] or (found := differences(again, place)):
        return f"DIFFERENT: features by {features:.1e}, {', '.join(found)}"
    one, other = (load_file(each.run / "embeddings.safetensors") for each in (whole, place))
    embeddings = max(float((one[name] - other[name]).abs().max()) for name in one)
    return (
        f"within tolerance: features {features:.1e}, embeddings {embeddings:.1e}; identical to a run on the same store"
    )


def trial(whole: Place, place: Place, phase: int, after_s: float, *, alone: bool) -> tuple[str, str, str, float]:
    """Kill, go on, compare: what was left behind, how it went on, the outcome, and the moment within the phase."""
    while not kill(whole, place, phase, after_s, alone=alone):
        after_s /= 2  # it was faster than the one that was measured
    fell_in, left = place.phase(), place.left_behind()
    words = go_on(place)
    return left, words, compare(whole, place, embedding=PHASES[fell_in] == "embedding"), after_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="spread evenly over the phases")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--scratch", type=Path, required=True, help="folder for caches and runs")
    args = parser.parse_args()
    scratch = args.scratch.absolute()
    whole = Place(scratch / "whole")
    shutil.rmtree(whole.root, ignore_errors=True)
    seconds = uninterrupted(whole)
    shown = ", ".join(f"{name} {length:.1f} s" for name, length in zip(PHASES, seconds, strict=True))
    print(f"Synthetic data. Uninterrupted, from an empty cache: {shown}\n", flush=True)
    print(f"{'':>2}  {'moment':17}  {'killed':7}  {'left behind':47}  {'continued by':22}  outcome", flush=True)
    rng = np.random.default_rng(args.seed)
    rounds = -(-args.kills // len(PHASES))
    outcomes = []
    for number in range(args.kills):
        phase, turn = number % len(PHASES), number // len(PHASES)
        moment = (turn + rng.random()) / rounds * seconds[phase]  # each round has its part of the phase
        alone = bool(turn % 2)
        left, words, outcome, after_s = trial(whole, Place(scratch / "killed"), phase, moment, alone=alone)
        outcomes.append(outcome.partition(":")[0])
        place = f"{PHASES[phase]} +{after_s:.2f} s"
        print(
            f"{number + 1:>2}  {place:17}  {'process' if alone else 'group':7}  {left:47}  {words:22}  {outcome}",
            flush=True,
        )
    counted = ", ".join(f"{outcomes.count(kind)} {kind}" for kind in dict.fromkeys(outcomes))
    print(f"\n{args.kills} kills: {counted}")
    if "DIFFERENT" in outcomes:
        sys.exit(1)


if __name__ == "__main__":
    main()
