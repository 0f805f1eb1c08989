"""Somebody's rows leave the store, all others stay as they were, whoever reads or writes meanwhile."""

import hashlib
import json
import os
import threading

import pytest
from safetensors import safe_open

from style_match.backbone.feature_store import find_rows, remove_rows

pytestmark = pytest.mark.filterwarnings("error")


def owner(number: int) -> str:
    return hashlib.sha256(f"owner {number}".encode()).hexdigest()


def write(rows, store, numbers, *, owned=True):
    with store.writer() as writer:
        for number in numbers:
            writer.add(rows.address(number), rows.vectors(number), owner(number % 5) if owned else None)


def test_rows_go_by_owner_and_by_address(tmp_path, rows):
    store = rows.store(tmp_path)
    write(rows, store, range(20))
    write(rows, store, range(30, 34), owned=False)
    theirs = [2, 7, 12, 17, 31]
    (found,) = find_rows(tmp_path, [owner(2)], [rows.address(31)])
    assert (found.folder, found.rows, found.damaged, found.unknown) == (store.folder, 5, 0, 3)
    assert store.missing([rows.address(number) for number in theirs]) == []
    assert remove_rows(tmp_path, [owner(2)], [rows.address(31)])[0].rows == 5
    assert len(store.missing([rows.address(number) for number in theirs])) == 5
    kept = [number for number in [*range(20), *range(30, 34)] if number not in theirs]
    rows.check(store, kept)
    rows.check(rows.store(tmp_path), kept)
    needles = [bytes.fromhex(each) for each in (owner(2), *map(rows.address, theirs))]
    assert not any(each in path.read_bytes() for path in store.folder.iterdir() for each in needles)
    (found,) = find_rows(tmp_path, [owner(2)], [])
    assert (found.rows, found.unknown) == (0, 3)
    assert find_rows(tmp_path / "nothing", [owner(2)], []) == []


def test_a_shard_without_owners_is_as_before(tmp_path, rows):
    store = rows.store(tmp_path)
    write(rows, store, range(3), owned=False)
    (path,) = store.folder.glob("*.safetensors")
    with safe_open(path, "np") as file:
        assert sorted(file.keys()) == ["checksums", "eos", "mean", "rows"]
        assert sorted(file.metadata()) == ["index", "key"]


def test_a_shard_of_nobody_else_is_gone(tmp_path, rows):
    store = rows.store(tmp_path)
    write(rows, store, [2, 7, 12, 17])
    remove_rows(tmp_path, [owner(2)], [])
    assert [path.name for path in store.folder.iterdir()] == ["manifest.json"]


def test_a_reader_that_has_the_shard_open_goes_on(tmp_path, rows):
    store = rows.store(tmp_path)
    write(rows, store, range(8))
    rows.check(store, range(8))
    remove_rows(tmp_path, [owner(1)], [])
    rows.check(store, [0, 2, 3, 4, 5, 7])


def test_readers_and_a_writer_meanwhile(tmp_path, rows):
    store = rows.store(tmp_path)
    write(rows, store, range(200))
    kept = [number for number in range(200) if number % 5]
    failed, stop = [], threading.Event()

    def read():
        reader = rows.store(tmp_path)
        while not stop.is_set():
            try:
                rows.check(reader, kept)
            except Exception as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    write(rows, rows.store(tmp_path), range(200, 240))
    remove_rows(tmp_path, [owner(0)], [])
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(store.missing([rows.address(number) for number in range(0, 240, 5)])) == 48


@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_a_kill_in_between_is_finished_by_the_next_call(tmp_path, rows, monkeypatch, call):
    store = rows.store(tmp_path)
    write(rows, store, range(4))

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, call, killed)
        remove_rows(tmp_path, [owner(1)], [])
    rows.check(rows.store(tmp_path), [0, 2, 3])
    remove_rows(tmp_path, [owner(1)], [])
    assert store.missing([rows.address(number) for number in range(4)]) == [rows.address(1)]
    assert len(list(store.folder.glob("*.safetensors"))) <= 2  # the rows of others may stand twice


def test_the_oldest_of_two_rows_is_still_served(tmp_path, rows):
    store = rows.store(tmp_path)
    write(rows, store, [0, 1])
    with store.writer() as writer:
        writer.add(rows.address(0), rows.vectors(99), owner(0))
    remove_rows(tmp_path, [owner(1)], [])
    rows.check(rows.store(tmp_path), [0])


def test_damaged_shards_and_half_written_ones_go_too(tmp_path, rows):
    store = rows.store(tmp_path)
    write(rows, store, range(4))
    (path,) = store.folder.glob("*.safetensors")
    content = path.read_bytes()
    (store.folder / f"{path.name}.corrupt").write_bytes(content[:-9])
    (store.folder / f".{path.name}.77.tmp").write_bytes(content[:-9])
    (store.folder / "other.tmp").write_bytes(b"of somebody else")
    path.write_bytes(content[:20] + b"?" + content[21:])
    assert find_rows(tmp_path, [owner(1)], [])[0].damaged == 3
    remove_rows(tmp_path, [owner(1)], [])
    assert sorted(each.name for each in store.folder.iterdir()) == ["manifest.json", "other.tmp"]


def test_changed_owners_are_noticed(tmp_path, rows):
    store = rows.store(tmp_path)
    write(rows, store, range(4))
    (path,) = store.folder.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    first = 8 + length + json.loads(content[8 : 8 + length])["owners"]["data_offsets"][0]
    content[first + 40] ^= 1
    path.write_bytes(content)
    rows.check(rows.store(tmp_path), range(4))  # nobody who computes reads them
    assert find_rows(tmp_path, [owner(1)], [])[0].damaged == 1
    remove_rows(tmp_path, [owner(1)], [])
    assert not list(store.folder.glob("*.safetensors"))


def test_rows_that_are_damaged_are_not_carried_over(tmp_path, rows):
    store = rows.store(tmp_path)
    write(rows, store, range(4))
    (path,) = store.folder.glob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[8 + int.from_bytes(content[:8], "little")] ^= 1  # the first float of row 0
    path.write_bytes(content)
    remove_rows(tmp_path, [owner(1)], [])
    assert rows.compute_missing(rows.store(tmp_path), range(4)) == [0, 1]
    rows.check(rows.store(tmp_path), range(4))
