"""The feature store as it grows: opened by a new process, a random batch, an append.

One store of real shape (two poolings, owners, shards as extraction writes them) grows from size to size in a temporary
folder. Files are in the page cache for all ways.
"""

import hashlib
import json
import mmap
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

from style_match.backbone.feature_store import FeatureStore, pack
from style_match.utils import progress

POOLINGS = ("eos", "mean")


def measure(results: Results, options: dict[str, Any]) -> None:
    needed = 1.1 * len(POOLINGS) * 4 * options["dim"] * (options["rows"][-1] + 3 * options["append"])
    if (free := shutil.disk_usage(tempfile.gettempdir()).free) < needed:
        raise SystemExit(
            f"The store of {options['rows'][-1]:,} rows needs {needed / 1e9:.0f} GB in {tempfile.gettempdir()}, which "
            f"has {free / 1e9:.0f} GB free. Set TMPDIR=FOLDER, or write fewer rows into options.yaml."
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # removes the folder then, too
    with tempfile.TemporaryDirectory(prefix="style_match-store-") as name:
        benchmark = Benchmark(Path(name), results, options)
        for num_rows in options["rows"]:
            benchmark.grow_to(num_rows)
            benchmark.open()
            benchmark.batch()
            benchmark.append()
        for what, medians in benchmark.medians.items():
            results.grow(what, "rows in the store", options["rows"], medians)


class Benchmark:
    """A store in `folder`, and the files that it is compared with; `medians` are seconds, one for each size."""

    def __init__(self, folder: Path, results: Results, options: dict[str, Any]):
        self.folder, self.results, self.options = folder, results, options
        self.dim, self.repetitions = options["dim"], options["repetitions"]
        self.addresses: list[str] = []
        self.asked: list[int] = []  # rows of a random batch
        self.medians: dict[str, list[float]] = {}
        self.base = np.random.default_rng(0).standard_normal((options["shard_rows"], self.dim), dtype=np.float32)
        with self.store().writer():
            pass  # makes the folder

    @property
    def size(self) -> str:
        return f"{len(self.addresses):,} rows of {len(POOLINGS)} x {self.dim}"

    def store(self) -> FeatureStore:
        return FeatureStore(self.folder, {"benchmark": "store"}, shard_rows=self.options["shard_rows"])

    def vectors(self, numbers: Sequence[int]) -> dict[str, np.ndarray]:
        """Return distinct vectors (len(numbers), D) of each pooling."""
        mean = self.base[np.asarray(numbers) % len(self.base)]
        mean[:, 0] = numbers
        return {"eos": -mean, "mean": mean}

    def note(self, what: str, seconds: list[float]) -> None:
        self.medians.setdefault(what, []).append(statistics.median(seconds))

    def grow_to(self, num_rows: int) -> None:
        """Add the shards that extraction would write, without waiting for the disk after each."""
        store = self.store()
        for start in range(len(self.addresses), num_rows, self.options["shard_rows"]):
            numbers = range(start, min(num_rows, start + self.options["shard_rows"]))
            self.addresses += [hash_of("photo", number) for number in numbers]
            addresses, owners = (
                [bytes.fromhex(hash_of(kind, number)) for number in numbers] for kind in ("photo", "owner")
            )
            name, content = pack(store.key, addresses, self.vectors(numbers), owners)
            (store.folder / name).write_bytes(content)
        os.sync()
        progress.say(f"  {self.size} written")
        self.asked = random.Random(0).sample(range(num_rows), self.options["batch"])
        (self.folder / "asked.txt").write_text("\n".join(self.addresses[number] for number in self.asked))
        (self.folder / "ids.txt").write_text("\n".join(self.addresses))
        # Files of the full size that hold the rows of the batch; the others are holes, which cost the same to read.
        vectors = self.vectors(self.asked)["mean"]
        np.lib.format.open_memmap(self.folder / "mean.npy", "w+", np.float32, (num_rows, self.dim))[self.asked] = (
            vectors
        )
        with torch.serialization.skip_data():
            torch.save(torch.empty(num_rows, self.dim), self.folder / "mean.pt")
        with torch.serialization.set_default_mmap_options(mmap.MAP_SHARED):
            file = torch.load(self.folder / "mean.pt", mmap=True, weights_only=True)
            file[self.asked] = torch.from_numpy(vectors)

    def open(self) -> None:
        """Measure the time and memory of a new process that opens the rows."""
        found: dict[str, list[dict[str, float]]] = {"store": [], "plain": []}

        def open_(way: str) -> float:
            words = [sys.executable, str(HERE / "store_open.py"), way, str(self.folder), str(self.folder / "asked.txt")]
            found[way].append(json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))
            return found[way][-1]["open_s"]

        ways = {"store": lambda: open_("store"), "plain": lambda: open_("plain")}
        times = alternate(ways, repetitions=self.repetitions, what=f"open, {self.size}", warm_up=False)
        held = min(each["held"] for way in found.values() for each in way)
        self.results.check(f"rows that either finds of the batch, {self.size}", len(self.asked) - held, 0)
        what = "store opened in a new process, verified, first answer"
        self.results.compare(what, ".npy memory map and ids", times["store"], times["plain"], size=self.size)
        self.note("store opened in a new process", times["store"])
        store, plain = (
            {name: statistics.median(each[name] for each in found[way]) for name in found[way][0]}
            for way in ("store", "plain")
        )
        is_largest = len(self.addresses) == self.options["rows"][-1]

        def fact(what: str, value: float, unit: str, at_most: float | None = None) -> None:
            goal = {"goal": f"under {at_most} {unit}", "met": value < at_most} if at_most and is_largest else {}
            self.results.fact(what, value, unit, size=self.size, **goal)

        fact("store opened, imports apart", store["open_s"], "s", self.options["at_most"]["open_s"])
        fact("imports (torch) before it", store["imports_s"], "s")
        highest = "memory of its process at the highest"
        fact(highest, store["highest_mb"], "MB", self.options["at_most"]["highest_mb"])
        fact("of it before the store is opened: imports (torch)", store["imports_mb"], "MB")
        fact("of it the store's own", store["highest_mb"] - store["imports_mb"], "MB")
        fact("memory at the highest with .npy memory map and ids", plain["highest_mb"], "MB")

    def batch(self) -> None:
        """Measure a random batch of an open store against memory maps with the same rows."""
        store, asked = self.store(), [self.addresses[number] for number in self.asked]
        place = {address: row for row, address in enumerate(self.addresses)}
        maps = {
            "numpy": np.load(self.folder / "mean.npy", mmap_mode="r"),
            "torch.load": torch.load(self.folder / "mean.pt", mmap=True, weights_only=True),
        }

        def load(rival: str) -> torch.Tensor:
            return torch.as_tensor(maps[rival][[place[address] for address in asked]])

        found = store.load(asked, "mean")
        for rival in maps:
            apart = (found - load(rival)).abs().max().item()
            self.results.check(f"batch of the store and of {rival}, {self.size}", apart, 0)
        ways = {"store": lambda: store.load(asked, "mean")}
        ways |= {rival: lambda rival=rival: load(rival) for rival in maps}
        seconds = alternate(ways, repetitions=self.repetitions, what=f"random batch, {self.size}")
        what = f"random batch of {len(asked):,} rows, verified"
        for against, way in ((".npy memory map", "numpy"), ("torch.load(mmap=True)", "torch.load")):
            self.results.compare(what, against, seconds["store"], seconds[way], size=self.size)
        self.note(f"random batch of {len(asked):,}", seconds["store"])

    def append(self) -> None:
        """Measure an append and the look-up of the new rows against saved arrays."""
        store, num = self.store(), self.options["append"]
        before = set(store.folder.iterdir())
        numbers = range(len(self.addresses), len(self.addresses) + num)
        stacked = self.vectors(numbers)
        new, owners = ([hash_of(kind, number) for number in numbers] for kind in ("photo", "owner"))

        def to_store() -> None:
            rows = {pooling: torch.from_numpy(vectors) for pooling, vectors in stacked.items()}
            with store.writer() as writer:
                for i, (address, owner) in enumerate(zip(new, owners, strict=True)):
                    writer.add(address, {pooling: vectors[i] for pooling, vectors in rows.items()}, owner)
            assert not store.missing(new)

        def to_npy() -> None:
            for pooling, vectors in stacked.items():
                with open(self.folder / f"new_{pooling}.npy", "wb") as file:
                    np.save(file, vectors)
                    file.flush()
                    os.fsync(file.fileno())

        def clear() -> None:
            for path in [*set(store.folder.iterdir()) - before, *self.folder.glob("new_*.npy")]:
                path.unlink()
            assert len(store.missing(new)) == num

        to_store()
        to_npy()
        for pooling in POOLINGS:
            apart = np.abs(store.load(new, pooling).numpy() - np.load(self.folder / f"new_{pooling}.npy")).max()
            self.results.check(f"appended {pooling}, {self.size}", apart, 0)
        ways = {"store": to_store, "npy": to_npy}
        seconds = alternate(ways, repetitions=self.repetitions, what=f"append, {self.size}", before=clear)
        clear()
        what, against = (
            f"append of {num:,} rows, synced, and the look-up after it",
            "np.save of the same vectors, synced",
        )
        self.results.compare(what, against, seconds["store"], seconds["npy"], size=self.size)
        self.note(f"append of {num:,} and the look-up after it", seconds["store"])


def hash_of(kind: str, number: int) -> str:
    return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()


if __name__ == "__main__":
    main("store", "feature store: opened, a random batch, an append", measure)
