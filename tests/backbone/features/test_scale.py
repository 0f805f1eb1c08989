"""Opening a large store reads its index alone; a random batch reads its rows alone."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from style_match.backbone.feature_store import pack

NUM_ROWS, SHARD_ROWS, DIM = 200_000, 256, 64

MEASURE = """
import json, resource, sys, time
import torch
from style_match.backbone.feature_store import FeatureStore
import hashlib, random

root, num_rows, dim = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
resident_mb = lambda: int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
bytes_read = lambda: int(open("/proc/self/io").read().split()[1])

before = resident_mb()
start = time.perf_counter()
store = FeatureStore(root, {}, shard_rows=256)
open_s = time.perf_counter() - start
opened = resident_mb()
chosen = random.Random(0).sample(range(num_rows), 4096)
addresses = [hashlib.sha256(str(number).encode()).hexdigest() for number in chosen]
assert store.missing(addresses) == [] and store.num_rows == num_rows
start, read = time.perf_counter(), bytes_read()
batch = store.load(addresses, "mean")
load_s, read = time.perf_counter() - start, bytes_read() - read
assert batch.tolist() == [[float(number % 1000)] * dim for number in chosen]
print(json.dumps(dict(open_s=open_s, index_mb=opened - before, resident_mb=opened, load_s=load_s, read=read)))
"""


def large_store(root: Path, key_of, num_rows: int, dim: int) -> None:
    folder = root / key_of[:16]
    folder.mkdir(parents=True)
    for start in range(0, num_rows, SHARD_ROWS):
        numbers = range(start, min(num_rows, start + SHARD_ROWS))
        vectors = np.repeat(np.array([[number % 1000] for number in numbers], np.float32), dim, axis=1)
        addresses = [hashlib.sha256(str(number).encode()).digest() for number in numbers]
        name, content = pack(key_of, addresses, {"mean": vectors, "eos": -vectors})
        (folder / name).write_bytes(content)


def test_a_batch_reads_its_rows_alone(tmp_path, rows):
    """Nothing of the other pooling, nor of the other rows of the same shards."""
    large_store(tmp_path, rows.store(tmp_path, identity={}).key, 4 * SHARD_ROWS, DIM)
    store = rows.store(tmp_path, identity={})
    chosen = range(0, 4 * SHARD_ROWS, 5)
    addresses = [hashlib.sha256(str(number).encode()).hexdigest() for number in chosen]
    store.load(addresses[:1], "mean")  # opens every shard of them once
    before = bytes_read()
    batch = store.load(addresses, "mean")
    assert bytes_read() - before < len(chosen) * DIM * 4 + 10_000
    assert batch[:, 0].tolist() == [float(number % 1000) for number in chosen]


def bytes_read() -> int:
    """By this process, from files."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.thorough
def test_two_hundred_thousand_rows(tmp_path, rows):
    large_store(tmp_path, rows.store(tmp_path, identity={}).key, NUM_ROWS, DIM)
    command = [sys.executable, "-c", MEASURE, str(tmp_path), str(NUM_ROWS), str(DIM)]
    figures = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    print(figures)
    assert figures["open_s"] < 2
    assert figures["index_mb"] < 60
    assert figures["read"] < 4096 * DIM * 4 + 10_000  # the other pooling and the shards' other rows are not read
