"""The feature store as it grows: opened by a new process, a random batch, an append.

One store of real shape (two poolings, owners, shards as extraction writes them) grows in a temporary folder from size
to size and is removed at the end. Batches are read with warm page caches on all sides: a cold one is not ours to make.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import HERE, Results, alternate, main
from store_plain import TORCH, PlainRows, write_plain

from style_match.backbone.feature_store import FeatureStore, pack
from style_match.utils import progress

POOLINGS = ("eos", "mean")
IDENTITY = {"benchmark": "store"}


def measure(results: Results, options: dict[str, Any]) -> None:
    needed = 1.1 * len(POOLINGS) * 4 * options["dim"] * (options["rows"][-1] + 3 * options["append"])
    if (free := shutil.disk_usage(tempfile.gettempdir()).free) < needed:
        raise SystemExit(
            f"The store of {options['rows'][-1]:,} rows needs {needed / 1e9:.0f} GB in {tempfile.gettempdir()}, where "
            f"{free / 1e9:.0f} GB are free: name another folder with TMPDIR=FOLDER, or fewer rows in options.yaml."
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folder is removed then, too
    with tempfile.TemporaryDirectory(prefix="style_match-store-") as name:
        benchmark = Benchmark(Path(name), results, options)
        for num_rows in options["rows"]:
            benchmark.grow_to(num_rows)
            benchmark.open()
            benchmark.batch()
            benchmark.append()
        benchmark.note_growth()


class Benchmark:
    """A store in `folder`, beside it what it is held against; `figures` are medians in seconds, one for each size."""

    def __init__(self, folder: Path, results: Results, options: dict[str, Any]):
        self.folder, self.results, self.options = folder, results, options
        self.dim, self.repetitions = options["dim"], options["repetitions"]
        self.addresses: list[str] = []
        self.asked: list[int] = []  # the rows of a random batch
        self.figures: dict[str, list[float]] = {"open": [], "batch": [], "append": []}
        self.base = np.random.default_rng(0).standard_normal((options["shard_rows"], self.dim), dtype=np.float32)
        with self.store().writer():
            pass  # makes folder and manifest

    @property
    def size(self) -> str:
        return f"{len(self.addresses):,} rows of {len(POOLINGS)} x {self.dim}"

    def store(self) -> FeatureStore:
        return FeatureStore(self.folder, IDENTITY, shard_rows=self.options["shard_rows"])

    def vectors(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """(len(numbers), D) of each pooling: quickly made, and no two alike."""
        mean = self.base[np.asarray(numbers) % len(self.base)]
        mean[:, 0] = numbers
        return {"eos": -mean, "mean": mean}

    def grow_to(self, num_rows: int) -> None:
        """Add the shards that extraction would write, without waiting for the disk after each."""
        store = self.store()
        starts = range(len(self.addresses), num_rows, self.options["shard_rows"])
        for done, start in enumerate(starts):
            numbers = range(start, min(num_rows, start + self.options["shard_rows"]))
            self.addresses += [address_of(number) for number in numbers]
            addresses = [bytes.fromhex(self.addresses[number]) for number in numbers]
            owners = [bytes.fromhex(owner_of(number)) for number in numbers]
            name, content = pack(store.key, addresses, self.vectors(numbers), owners)
            (store.folder / name).write_bytes(content)
            if done % 400 == 399:
                progress.say(f"  {len(self.addresses):,} of {num_rows:,} rows written")
        os.sync()
        self.asked = random.Random(0).sample(range(num_rows), self.options["batch"])
        (self.folder / "asked.txt").write_text("\n".join(self.addresses[number] for number in self.asked))
        vectors = torch.from_numpy(self.vectors(self.asked)["mean"])
        write_plain(self.folder, self.addresses, self.dim, self.asked, vectors)

    def open(self) -> None:
        told: dict[str, list[dict[str, float]]] = {"store": [], "plain": []}

        def open_(way: str) -> None:
            words = [sys.executable, str(HERE / "store_open.py"), way, str(self.folder), str(self.folder / "asked.txt")]
            told[way].append(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))

        ways = {"store": lambda: open_("store"), "plain": lambda: open_("plain")}
        alternate(ways, repetitions=self.repetitions, what=f"open, {self.size}", warm_up=False)
        held = {figures["held"] for each in told.values() for figures in each}
        self.results.check(f"rows that either holds of those asked for, {self.size}", len(self.asked) - min(held), 0)
        store, plain = ([each["open_s"] for each in told[way]] for way in ("store", "plain"))
        what = "store opened in a new process, verified, first answer"
        self.results.compare(what, ".npy memory map and ids", store, plain, size=self.size)
        self.figures["open"].append(statistics.median(store))
        self._note_open(told)

    def _note_open(self, told: dict[str, list[dict[str, float]]]) -> None:
        store, plain = (
            {name: statistics.median(each[name] for each in told[way]) for name in told[way][0]}
            for way in ("store", "plain")
        )
        size, goals = self.size, {}
        if len(self.addresses) == self.options["rows"][-1]:
            for name, unit in (("open_s", "s"), ("highest_mb", "MB")):
                at_most = self.options["at_most"][name]
                goals[name] = {"goal": f"under {at_most} {unit}", "met": store[name] < at_most}
        fact = self.results.fact
        fact("store opened, imports apart", store["open_s"], "s", size=size, **goals.get("open_s", {}))
        fact("imports (torch) before it", store["imports_s"], "s", size=size)
        fact(
            "memory of its process at the highest", store["highest_mb"], "MB", size=size, **goals.get("highest_mb", {})
        )
        fact("of it before the store is opened: imports (torch)", store["imports_mb"], "MB", size=size)
        fact("of it the store's own", store["highest_mb"] - store["imports_mb"], "MB", size=size)
        fact("memory at the highest with .npy memory map and ids", plain["highest_mb"], "MB", size=size)

    def batch(self) -> None:
        store, numpy, torch_ = self.store(), PlainRows(self.folder), PlainRows(self.folder, TORCH)
        wanted = [self.addresses[number] for number in self.asked]
        found = store.load(wanted, "mean")
        for rival, plain in (("numpy", numpy), ("torch.load", torch_)):
            apart = (found - plain.load(wanted)).abs().max().item()
            self.results.check(f"batch of the store and of {rival}, {self.size}", apart, 0)
        ways = {
            "store": lambda: store.load(wanted, "mean"),
            "numpy": lambda: numpy.load(wanted),
            "torch": lambda: torch_.load(wanted),
        }
        seconds = alternate(ways, repetitions=self.repetitions, what=f"random batch, {self.size}")
        what = f"random batch of {len(wanted):,} rows, verified"
        for against, way in ((".npy memory map", "numpy"), ("torch.load(mmap=True)", "torch")):
            self.results.compare(what, against, seconds["store"], seconds[way], size=self.size)
        self.figures["batch"].append(statistics.median(seconds["store"]))

    def append(self) -> None:
        store, num = self.store(), self.options["append"]
        before = set(store.folder.iterdir())
        numbers = range(len(self.addresses), len(self.addresses) + num)
        stacked = self.vectors(numbers)
        rows = {pooling: torch.from_numpy(vectors) for pooling, vectors in stacked.items()}
        new, owners = [address_of(number) for number in numbers], [owner_of(number) for number in numbers]

        def to_store() -> None:
            with store.writer() as writer:
                for i, (address, owner) in enumerate(zip(new, owners, strict=True)):
                    writer.add(address, {pooling: vectors[i] for pooling, vectors in rows.items()}, owner)
            if store.missing(new):
                raise SystemExit("rows that were appended are missing")

        def to_npy() -> None:
            for pooling, vectors in stacked.items():
                with open(self.folder / f"new_{pooling}.npy", "wb") as file:
                    np.save(file, vectors)
                    file.flush()
                    os.fsync(file.fileno())

        def clear() -> None:
            for path in [*set(store.folder.iterdir()) - before, *self.folder.glob("new_*.npy")]:
                path.unlink()
            if len(store.missing(new)) != num:
                raise SystemExit("rows that were removed are still held")

        to_store()
        to_npy()
        for pooling in POOLINGS:
            apart = np.abs(store.load(new, pooling).numpy() - np.load(self.folder / f"new_{pooling}.npy")).max()
            self.results.check(f"appended {pooling}, {self.size}", apart, 0)
        seconds = alternate(
            {"store": to_store, "npy": to_npy},
            repetitions=self.repetitions,
            what=f"append, {self.size}",
            before=clear,
        )
        clear()
        self.results.compare(
            f"append of {num:,} rows, synced, and the look-up after it",
            "np.save of the same vectors, synced",
            seconds["store"],
            seconds["npy"],
            size=self.size,
        )
        self.figures["append"].append(statistics.median(seconds["store"]))

    def note_growth(self) -> None:
        for what, key in (
            ("store opened in a new process", "open"),
            (f"random batch of {self.options['batch']:,}", "batch"),
            (f"append of {self.options['append']:,} and the look-up after it", "append"),
        ):
            self.results.grow(what, "rows in the store", self.options["rows"], self.figures[key])


def address_of(number: int) -> str:
    return hashlib.sha256(f"photo {number}".encode()).hexdigest()


def owner_of(number: int) -> str:
    return hashlib.sha256(f"owner {number}".encode()).hexdigest()


if __name__ == "__main__":
    main("store", "feature store: opened, a random batch, an append", measure)
