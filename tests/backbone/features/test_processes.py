"""Killed writers and writers at the same time, in processes of their own."""

import multiprocessing
import os
import random
import signal
import time
import warnings

import pytest

# A fork has torch loaded already; the children only hash and write files.
fork = multiprocessing.get_context("fork")


def write_slowly(rows, root, numbers, shard_rows, reached, pause_at):
    store = rows.store(root, shard_rows=shard_rows)
    with store.writer() as writer:
        for count, number in enumerate(numbers):
            if count == pause_at:
                reached.set()
                time.sleep(60)
            writer.add(rows.address(number), rows.vectors(number))


def hang_before_the_name(rows, root, numbers, shard_rows, reached):
    """Stops where a shard is wholly written beside its place but not yet renamed."""

    def hang(*_):
        reached.set()
        time.sleep(60)

    os.replace = hang
    write_slowly(rows, root, numbers, shard_rows, reached, pause_at=None)


def kill(process):
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_killed_in_the_middle_of_a_shard(tmp_path, rows):
    reached = fork.Event()
    process = fork.Process(target=write_slowly, args=(rows, tmp_path, range(20), 4, reached, 14))
    process.start()
    assert reached.wait(30)
    kill(process)
    store = rows.store(tmp_path)
    assert rows.compute_missing(store, range(20)) == list(range(12, 20))
    rows.check(store, range(20))


def test_killed_before_a_whole_shard_got_its_name(tmp_path, rows):
    rows.write(rows.store(tmp_path), range(4))
    reached = fork.Event()
    process = fork.Process(target=hang_before_the_name, args=(rows, tmp_path, range(4, 12), 4, reached))
    process.start()
    assert reached.wait(30)
    kill(process)
    store = rows.store(tmp_path)
    assert len(list(store.folder.glob("*.tmp"))) == 1
    assert rows.compute_missing(store, range(12)) == list(range(4, 12))
    rows.check(store, range(12))


@pytest.mark.thorough
def test_killed_at_random_moments(tmp_path, rows):
    """Whatever the moment: whole shards or none, a sound store, and only what is missing is left to do."""
    moments = random.Random(0)
    numbers, held = list(range(4000)), 0
    for _ in range(40):
        process = fork.Process(target=lambda: rows.compute_missing(rows.store(tmp_path, shard_rows=16), numbers))
        process.start()
        time.sleep(moments.uniform(0.0, 0.12))
        process.kill()
        process.join()
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a damaged shard would warn
            store = rows.store(tmp_path)
        missing = store.missing([rows.address(number) for number in numbers])
        present = [number for number in numbers if rows.address(number) not in set(missing)]
        assert len(present) >= held and len(present) == store.num_rows  # nothing lost, nothing computed twice
        held = len(present)
        if present:
            rows.check(store, present)
    assert held > 0
    assert len(rows.compute_missing(store, numbers)) == len(numbers) - held
    rows.check(rows.store(tmp_path), numbers)


def write_in_order(rows, root, seed, ready, go):
    numbers = list(range(60))
    random.Random(seed).shuffle(numbers)
    ready.release()
    go.wait()
    for chunk in range(0, 60, 6):
        rows.write(rows.store(root), [*numbers[chunk : chunk + 6], 100 * seed + chunk])


def test_several_writers_at_once(tmp_path, rows):
    """Each writes all rows in an order of its own, and some of its own; a reader looks on."""
    ready, go = fork.Semaphore(0), fork.Event()
    writers = [fork.Process(target=write_in_order, args=(rows, tmp_path, seed, ready, go)) for seed in (1, 2, 3)]
    for writer in writers:
        writer.start()
    for _ in writers:
        assert ready.acquire(timeout=30)
    reader = rows.store(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go.set()
        while any(writer.is_alive() for writer in writers):
            missing = set(reader.missing([rows.address(number) for number in range(60)]))
            rows.check(reader, [number for number in range(60) if rows.address(number) not in missing] or [])
        for writer in writers:
            writer.join()
            assert writer.exitcode == 0
        everything = [*range(60), *(100 * seed + chunk for seed in (1, 2, 3) for chunk in range(0, 60, 6))]
        rows.check(reader, everything)
        rows.check(rows.store(tmp_path), everything[::-1])
    assert reader.num_rows == 3 * 70
    assert not list(reader.folder.glob("*.tmp"))
