"""SIGKILL at a random moment of every phase of a run: the resumed run ends like an uninterrupted one."""

import csv
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.thorough.processes import alive

RUN = (
    "data.num_couples=80",
    "features.shard_rows=16",  # small enough that a kill falls between two shards
    "backbone.token_budget=700",  # ten photos in a batch
    "sampler.batch_size=16",
    "head.hidden_dim=64",
    "head.dim=32",
    "optimizer.lr=0.002",
    "trainer.max_epochs=40",
    "trainer.early_stopping.patience=15",
)
PHASES = ("starting", "drawing", "embedding", "training", "writing")
# The part of the cache that is there before a phase begins.
CACHED = {"starting": None, "drawing": None, "embedding": "demo", "training": "", "writing": ""}
SAME_BYTES = ("metrics.json", "ranks.parquet", "rejected.csv", "tsne.png")
TOLERANCE = 1e-5  # of features computed in other batches, as a share of the largest value (fp32)
ORPHANS_S = 10  # a killed command's other processes must have ended by then
POLL_S = 0.002


@dataclass(frozen=True)
class Place:
    """A cache, a run folder, and the output of the run."""

    root: Path

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def start(self, *words: str) -> subprocess.Popen:
        """Start a training in a separate process group."""
        self.root.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "STYLE_MATCH_CACHE": str(self.cache)}
        with open(self.root / "log.txt", "w") as log:
            command = [sys.executable, "-m", "style_match.train", *words]
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def start_run(self, *words: str) -> subprocess.Popen:
        return self.start(*RUN, *words, f"hydra.run.dir={self.run}")

    def finish(self, process: subprocess.Popen) -> None:
        assert process.wait() == 0, (self.root / "log.txt").read_text()

    def phase(self) -> int:
        """Return how far the running command is, as a position in PHASES."""
        log = (self.root / "log.txt").read_text()
        if re.search(r"^training: \d+ epochs", log, re.M):
            return 4
        if "features: " in log:
            return 3
        if (self.run / "config.yaml").exists() and any(self.cache.glob("demo/*/demo.json")):
            return 2
        return int(any(self.cache.glob("demo/*/demo.partial.json")))

    @cached_property
    def features(self) -> dict[tuple[bytes, str], torch.Tensor]:
        """(address, pooling) -> vector of the feature store."""
        found = {}
        for path in sorted(self.cache.glob("features/*/*.safetensors")):
            shard = load_file(path)
            for pooling in shard.keys() - {"rows", "owners"}:
                for row, vector in zip(shard["rows"], shard[pooling], strict=True):
                    found[row.numpy().tobytes(), pooling] = vector
        return found

    def results(self) -> dict[str, object]:
        """Everything that two equal runs share."""
        found: dict[str, object] = {name: (self.run / name).read_bytes() for name in SAME_BYTES}
        provenance = json.loads((self.run / "provenance.json").read_text())
        found["selected"] = provenance["selected"], provenance["data"]["fingerprint"]
        drawn = next(self.cache.glob("demo/*/"))
        paths = [path for path in drawn.rglob("*") if path.is_file() and not path.name.startswith(".")]
        found["dataset folder"] = {path.relative_to(drawn): path.read_bytes() for path in paths}
        curves: dict[str, dict[str, str]] = {}
        for path in self.run.glob("csv/version_*/metrics.csv"):
            with open(path, newline="") as file:
                for row in csv.DictReader(file):
                    curves.setdefault(row["epoch"], {}).update({k: v for k, v in row.items() if v})
        found["curves"] = curves
        found["unfinished files"] = list(self.run.rglob("*.tmp"))
        weights = torch.load(self.run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
        tensors = {**load_file(self.run / "embeddings.safetensors"), **weights}
        found["tensors"] = {name: tensor.tolist() for name, tensor in tensors.items()}
        found["ids"] = ids(self.run)
        return found


def ids(run: Path) -> dict[str, str]:
    with safe_open(run / "embeddings.safetensors", "pt") as file:
        return file.metadata()


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Place, list[float]]:
    """An uninterrupted run from an empty cache, and the seconds of its phases."""
    place = Place(tmp_path_factory.mktemp("kills") / "whole")
    process = place.start_run()
    began = {0: time.monotonic()}
    while process.poll() is None:
        began.setdefault(place.phase(), time.monotonic())
        time.sleep(POLL_S)
    place.finish(process)
    moments = [*(began[phase] for phase in range(len(PHASES))), time.monotonic()]
    return place, [end - begin for begin, end in pairwise(moments)]


@pytest.fixture
def again(whole, tmp_path) -> Callable[..., Place]:
    """Run once more, with other words, on a copy of a cache."""

    def run(*words: str, on: Place = whole[0]) -> Place:
        place = Place(tmp_path / "again")
        shutil.copytree(on.cache, place.cache)
        place.finish(place.start_run(*words))
        return place

    return run


def kill(whole: Place, place: Place, phase: int, after_s: float, *, whole_group: bool) -> bool:
    """Kill a run so many seconds after a phase began; False if the run ended before that."""
    shutil.rmtree(place.root, ignore_errors=True)
    part = CACHED[PHASES[phase]]
    if part is not None:
        shutil.copytree(whole.cache / part, place.cache / part)
    if PHASES[phase] == "embedding":
        shutil.rmtree(next(place.cache.glob("demo/*/splits")))
    process = place.start_run()
    while place.phase() < phase and process.poll() is None:
        time.sleep(POLL_S)
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGKILL) if whole_group else os.kill(process.pid, signal.SIGKILL)
    until = time.monotonic() + ORPHANS_S
    while alive(process.pid) and time.monotonic() < until:
        time.sleep(POLL_S)
    assert not alive(process.pid), "a process outlived the command that started it"
    return process.wait() == -signal.SIGKILL


def resume(place: Place) -> None:
    """Finish a killed run, as the README says."""
    if not (place.run / "config.yaml").exists():
        place.finish(place.start_run())
    else:
        words = ["ckpt_path=last"] if (place.run / "checkpoints" / "last.ckpt").exists() else []
        place.finish(place.start(f"run={place.run}", *words))


def largest_difference(one: Place, other: Place) -> float:
    """Between the features of two stores, as a share of the largest value."""
    assert one.features.keys() == other.features.keys()
    largest = max(float(vector.abs().max()) for vector in one.features.values())
    return max(float((other.features[key] - one.features[key]).abs().max()) for key in one.features) / largest


@pytest.mark.parametrize("whole_group", [True, False], ids=["group", "process"])
@pytest.mark.parametrize("phase", PHASES)
def test_a_killed_run_ends_like_an_uninterrupted_one(whole, again, tmp_path, phase, whole_group):
    """The system kills one process when memory runs out; a terminal or a scheduler kills all of a command."""
    first, seconds = whole
    number, place = PHASES.index(phase), Place(tmp_path / "killed")
    after_s = random.random() * seconds[number]
    while not kill(first, place, number, after_s, whole_group=whole_group):
        after_s /= 2  # this run was faster than the measured one
    print(f"killed {after_s:.2f} s after {phase} began, in {PHASES[place.phase()]}")
    resume(place)
    difference = largest_difference(first, place)
    assert difference <= TOLERANCE
    # photos that were embedded in other batches have slightly other features: compare with a run on the same store
    expected = first if difference == 0 else again(on=place)
    assert place.results() == expected.results()


def test_the_same_command_on_the_same_store_gives_the_same_results(whole, again):
    assert again().results() == whole[0].results()


def test_other_batches_give_the_same_features_within_the_tolerance(whole, again, tmp_path):
    other = again(f"features.root={tmp_path / 'cold' / 'cache' / 'features'}", "backbone.token_budget=150")
    assert largest_difference(whole[0], Place(tmp_path / "cold")) <= TOLERANCE
    one, two = (load_file(each.run / "embeddings.safetensors") for each in (whole[0], other))
    assert all(float((one[name] - two[name]).abs().max()) < 1e-3 for name in one)


def test_another_seed_has_the_same_test_set(whole, again):
    first, other = whole[0], again("seed=1")
    asked = [
        [(row["model"], row["query"], row["partner"], row["direction"], row["gallery"]) for row in rows]
        for rows in (pq.read_table(each.run / "ranks.parquet").to_pylist() for each in (first, other))
    ]
    assert asked[0] == asked[1] and ids(first.run) == ids(other.run)
    one, two = (json.loads((each.run / "metrics.json").read_text()) for each in (first, other))
    assert one["frozen"] == two["frozen"] and one["trained"] != two["trained"]
