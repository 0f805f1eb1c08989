"""The feature store serves the right row or computes it again: damage, kills, several writers, removal."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from safetensors import safe_open
from safetensors.torch import save_file

from style_match.backbone.feature_store import FeatureStore, find_rows, remove_rows
from style_match.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("error")
IDENTITY = {"files": {"config.json": "1" * 64}, "dtype": "fp32", "layer": None, "poolings": ["eos", "mean"]}
DIM = 6
fork = multiprocessing.get_context("fork")  # torch is loaded already; the children only hash and write files


def address(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def owner(number: int) -> str:
    """Five people own all rows."""
    return hashlib.sha256(f"owner {number % 5}".encode()).hexdigest()


def vectors(number: int, dim: int = DIM) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {name: torch.randn(dim, generator=generator) for name in ("eos", "mean")}


def open_store(root: Path, *, shard_rows: int = 4, identity: dict = IDENTITY) -> FeatureStore:
    return FeatureStore(root, identity, shard_rows=shard_rows)


def write(store: FeatureStore, numbers, *, owned: bool = True) -> None:
    with store.writer() as writer:
        for number in numbers:
            writer.add(address(number), vectors(number), owner(number) if owned else None)


def missing(store: FeatureStore, numbers) -> list[int]:
    number_of = {address(number): number for number in numbers}
    return [number_of[each] for each in store.missing([address(number) for number in numbers])]


def check(store: FeatureStore, numbers) -> None:
    for pooling in ("eos", "mean"):
        loaded = store.load([address(number) for number in numbers], pooling)
        assert loaded.tolist() == [vectors(number)[pooling].tolist() for number in numbers]


def shards(store: FeatureStore) -> list[Path]:
    return sorted(store.folder.glob("*.safetensors"))


# ---------------------------------------------------------------- reading and writing


@given(
    num_rows=st.integers(0, 23),
    shard_rows=st.integers(1, 9),
    poolings=st.sets(st.sampled_from(["eos", "mean", "mean_image", "a", "z"]), min_size=1),
    dim=st.integers(1, 9),
    data=st.data(),
)
def test_rows_come_back_as_written(tmp_path_factory, num_rows, shard_rows, poolings, dim, data):
    root = tmp_path_factory.mktemp("store")
    written = {address(i): {name: torch.randn(dim) for name in poolings} for i in range(num_rows)}
    store = open_store(root, shard_rows=shard_rows)
    with store.writer() as writer:
        for each, row in written.items():
            writer.add(each, row)
    assert len(shards(store)) == -(-num_rows // shard_rows)
    wanted = data.draw(st.lists(st.sampled_from(list(written)), max_size=40)) if written else []
    for opened in (store, open_store(root)):
        assert opened.missing(list(written)) == []
        assert opened.num_rows == num_rows
        for pooling in poolings:
            loaded = opened.load(wanted, pooling)
            assert loaded.dtype == torch.float32
            assert torch.equal(loaded, torch.stack([written[a][pooling] for a in wanted]) if wanted else loaded[:0])


def test_missing_rows_are_listed_once_and_in_order(tmp_path):
    store = open_store(tmp_path)
    write(store, range(5))
    assert missing(store, [7, 2, 9, 7, 4, 6, 9]) == [7, 9, 6]
    assert store.missing([]) == []
    with pytest.raises(UserError, match=rf"4 of 7 rows are not in the feature store .*first: {address(7)}"):
        store.load([address(i) for i in (2, 7, 9, 7, 4, 1, 9)], "mean")


@pytest.mark.parametrize("changes", [{"dtype": "bf16"}, {"layer": 3}, {"poolings": ["eos"]}, {"more": None}])
def test_another_identity_is_another_store(tmp_path, changes):
    first, other = open_store(tmp_path), open_store(tmp_path, identity=IDENTITY | changes)
    write(first, range(3))
    assert other.folder != first.folder and missing(other, range(3)) == [0, 1, 2]
    shuffled = dict(reversed(IDENTITY.items())) | {"poolings": ("eos", "mean")}
    assert open_store(tmp_path, identity=shuffled).key == first.key
    manifest = json.loads((first.folder / "manifest.json").read_text())
    assert manifest == {"key": first.key, "identity": IDENTITY} and first.folder.name == first.key[:16]


def test_a_shard_of_another_store_is_not_served(tmp_path):
    other, store = open_store(tmp_path, identity={**IDENTITY, "dtype": "bf16"}), open_store(tmp_path)
    write(other, [1])
    write(store, [2])
    shards(other)[0].rename(store.folder / shards(other)[0].name)
    with pytest.warns(UserWarning, match="belongs to another store"):
        assert missing(store, [1, 2]) == [1]


def test_a_shard_is_an_ordinary_safetensors_file_named_by_its_digest(tmp_path):
    store = open_store(tmp_path)
    write(store, range(3))
    (path,) = shards(store)
    assert path.stem == hashlib.sha256(path.read_bytes()).hexdigest()[:32]
    with safe_open(path, framework="pt") as file:
        assert sorted(file.keys()) == ["eos", "mean", "owners", "rows"]
        assert [bytes(row.tolist()).hex() for row in file.get_tensor("rows")] == [address(i) for i in range(3)]
        assert torch.equal(file.get_tensor("mean"), torch.stack([vectors(i)["mean"] for i in range(3)]))


def test_rows_that_others_write_meanwhile_are_found(tmp_path):
    reader, other = open_store(tmp_path), open_store(tmp_path)
    write(other, range(3))
    check(reader, range(3))
    write(other, [5])
    assert missing(reader, [5, 6]) == [6]


def test_a_row_computed_twice_is_served_as_first_written(tmp_path):
    store = open_store(tmp_path)
    write(store, [1, 2])
    for i in range(4):
        with open_store(tmp_path).writer() as writer:
            writer.add(address(1), vectors(100 + i))
    check(store, [1, 2])
    check(open_store(tmp_path), [1, 2])


def test_vectors_are_copied_and_kept_as_float32(tmp_path):
    store, buffer = open_store(tmp_path), torch.zeros(6, dtype=torch.bfloat16)
    with store.writer() as writer:
        for number in range(3):
            buffer.fill_(number)
            writer.add(address(number), {"mean": buffer})
    loaded = store.load([address(number) for number in range(3)], "mean")
    assert loaded.dtype == torch.float32 and loaded[:, 0].tolist() == [0, 1, 2]


def test_addresses_that_begin_or_end_alike_are_told_apart(tmp_path):
    alike = [f"{'ab' * 8}{i:02x}{'00' * 23}" for i in range(20)]
    store = open_store(tmp_path)
    with store.writer() as writer:
        for i, each in enumerate(alike[:15]):
            writer.add(each, {"mean": torch.tensor([float(i)])})
    assert store.missing(alike) == alike[15:]
    assert store.load(alike[:15][::-1], "mean").flatten().tolist() == list(range(14, -1, -1))


# ---------------------------------------------------------------- damage


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    """Root of a store of two shards, rows 0 to 3 and 4 to 6."""
    root = tmp_path_factory.mktemp("pristine")
    write(open_store(root), range(7))
    return root


@given(data=st.data())
@settings(max_examples=40)
def test_a_damaged_shard_is_named_and_computed_again(tmp_path_factory, pristine, data):
    root = tmp_path_factory.mktemp("damaged") / "store"
    shutil.copytree(pristine, root)
    opened = open_store(root) if data.draw(st.booleans()) else None
    path = data.draw(st.sampled_from(shards(open_store(root))))
    content = path.read_bytes()
    at, kind = data.draw(st.integers(0, len(content) - 1)), data.draw(st.sampled_from(["flip", "cut", "grow"]))
    flipped = content[:at] + bytes([content[at] ^ 1 << data.draw(st.integers(0, 7))]) + content[at + 1 :]
    path.write_bytes({"flip": flipped, "cut": content[:at], "grow": content + b"\0"}[kind])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = opened or open_store(root)
        lost = missing(store, range(7))
    assert [f"{path} is damaged" in str(each.message) for each in caught] == [True]
    assert lost in ([0, 1, 2, 3], [4, 5, 6]) and not path.exists()
    write(store, lost)
    check(store, range(7))
    check(open_store(root), range(7))


def test_a_damaged_shard_that_cannot_be_removed_is_named(open_folder, plain_user):
    write(open_store(open_folder), [1])
    (path,) = shards(open_store(open_folder))
    path.write_bytes(path.read_bytes()[:-1])
    path.parent.chmod(0o555)
    with plain_user(), pytest.raises(UserError, match=rf"{path.name} is damaged .* Delete it \(Permission denied\)"):
        open_store(open_folder)
    path.parent.chmod(0o755)


def test_two_open_stores():
    """Writers, removals, vanished and damaged shards in any order: both stores know what is there."""
    numbers = range(12)

    class Meanwhile(RuleBasedStateMachine):
        def __init__(self):
            super().__init__()
            self.scratch = tempfile.TemporaryDirectory()
            self.root = Path(self.scratch.name)
            self.stores = [open_store(self.root, shard_rows=9), open_store(self.root, shard_rows=9)]
            self.rows: dict[Path, set[int]] = {}  # of each shard on disk

        def teardown(self):
            self.scratch.cleanup()

        @rule(which=st.sampled_from([0, 1]), chosen=st.sets(st.sampled_from(numbers), min_size=1, max_size=6))
        def write(self, which, chosen):
            write(self.stores[which], sorted(chosen))
            self.rows |= {path: chosen for path in shards(self.stores[0]) if path not in self.rows}

        @rule(number=st.sampled_from(numbers))
        def remove(self, number):
            remove_rows(self.root, [], [address(number)])
            found = {}
            for path in shards(self.stores[0]):
                content = path.read_bytes()
                found[path] = {each for each in numbers if bytes.fromhex(address(each)) in content}
            expected = {frozenset(rows - {number}) for rows in self.rows.values()} - {frozenset()}
            assert set(map(frozenset, found.values())) == expected
            self.rows = found

        @precondition(lambda self: self.rows)
        @rule(data=st.data())
        def vanish(self, data):
            path = data.draw(st.sampled_from(sorted(self.rows)))
            path.unlink()
            del self.rows[path]

        @precondition(lambda self: self.rows)
        @rule(data=st.data(), at=st.integers(0, 100))
        def damage(self, data, at):
            path = data.draw(st.sampled_from(sorted(self.rows)))
            content = bytearray(path.read_bytes())
            content[at] ^= 1
            path.write_bytes(content)
            with pytest.warns(UserWarning, match="is damaged"):
                missing(open_store(self.root), numbers)
            assert not path.exists()
            del self.rows[path]

        @invariant()
        def both_know(self):
            present = set().union(*self.rows.values())
            for store in (*self.stores, open_store(self.root)):
                check(store, sorted(present))
                assert missing(store, numbers) == [number for number in numbers if number not in present]
                assert store.num_rows == sum(map(len, self.rows.values()))

    run_state_machine_as_test(Meanwhile, settings=settings(max_examples=8, stateful_step_count=10, deadline=None))


# ---------------------------------------------------------------- kills, interrupts, full disks


def kill_while(function) -> None:
    """Run `function(reached)` in a process that is killed once it has set `reached`."""
    reached = fork.Event()
    process = fork.Process(target=function, args=(reached,))
    process.start()
    assert reached.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def test_a_killed_process_loses_the_shard_in_progress(tmp_path):
    def job(reached):
        with open_store(tmp_path).writer() as writer:
            for number in range(14):
                writer.add(address(number), vectors(number))
            reached.set()
            time.sleep(60)

    kill_while(job)
    store = open_store(tmp_path)
    assert missing(store, range(20)) == list(range(12, 20))
    check(store, range(12))


def test_a_shard_without_its_name_is_no_shard(tmp_path):
    def job(reached):
        store = open_store(tmp_path)
        with store.writer():
            os.replace = lambda *_: [reached.set(), time.sleep(60)]
            write(store, range(4))

    kill_while(job)
    store = open_store(tmp_path)
    (half,) = store.folder.glob("*.tmp")
    assert missing(store, range(4)) == [0, 1, 2, 3]
    os.utime(half, (0, 0))
    write(store, range(4))
    assert not half.exists()


def test_several_writers_at_once(tmp_path):
    def job(seed, go):
        go.wait()
        for start in range(0, 60, 6):
            write(
                open_store(tmp_path), [(7 * seed * i) % 61 for i in range(start + 1, start + 7)] + [100 * seed + start]
            )

    go = fork.Event()
    writers = [fork.Process(target=job, args=(seed, go)) for seed in (1, 2, 3)]
    for writer in writers:
        writer.start()
    go.set()
    reader = open_store(tmp_path)
    while any(writer.is_alive() for writer in writers):
        lacking = set(missing(reader, range(1, 61)))
        check(reader, [number for number in range(1, 61) if number not in lacking])
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    check(reader, [*range(1, 61), *(100 * seed + start for seed in (1, 2, 3) for start in range(0, 60, 6))])
    assert reader.num_rows == 3 * 70 and not list(reader.folder.glob("*.tmp"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_rows_added_before_an_interrupt_are_kept(tmp_path, error):
    with pytest.raises(error), open_store(tmp_path).writer() as writer:
        for number in range(6):
            writer.add(address(number), vectors(number))
        raise error
    assert missing(open_store(tmp_path), range(8)) == [6, 7]


def test_a_full_disk(tmp_path):
    """On a file system of 1 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        with (
            pytest.raises(UserError, match=r"No space left on device.*features\.root"),
            open_store(tmp_path, shard_rows=16).writer() as writer,
        ):
            for number in range(2000):
                writer.add(address(number), vectors(number, dim=512))
        store = open_store(tmp_path)
        assert not list(store.folder.glob("*.tmp"))
        assert 100 < store.num_rows < 256 and store.num_rows % 16 == 0
        loaded = store.load([address(number) for number in range(store.num_rows)], "mean")
        assert all(row.equal(vectors(i, dim=512)["mean"]) for i, row in enumerate(loaded))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_folders_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/.*: Not a directory.*features\.root"):
        open_store(tmp_path / "file")


def test_a_read_only_folder_serves_its_rows(open_folder, plain_user):
    write(open_store(open_folder), range(5))
    folder = open_store(open_folder).folder
    folder.chmod(0o555)
    with plain_user():
        store = open_store(open_folder)
        check(store, range(5))
        with pytest.raises(UserError, match=r"Permission denied.*features\.root"), store.writer():
            raise AssertionError("the block was entered")
    folder.chmod(0o755)
    shards(store)[0].chmod(0)
    with plain_user(), pytest.raises(UserError, match=r"Could not read .*safetensors: Permission denied"):
        open_store(open_folder)


@pytest.fixture
def open_folder():
    """A folder that every user of the machine may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


# ---------------------------------------------------------------- removal of a person's rows


def test_rows_are_removed_by_owner_and_by_address(tmp_path):
    store = open_store(tmp_path)
    write(store, range(20))
    write(store, range(30, 34), owned=False)
    theirs = [2, 7, 12, 17, 31]
    (found,) = find_rows(tmp_path, [owner(2)], [address(31)])
    assert (found.folder, found.rows, found.damaged, found.unknown) == (store.folder, 5, 0, 3)
    assert missing(store, theirs) == []
    assert remove_rows(tmp_path, [owner(2)], [address(31)])[0].rows == 5
    assert missing(store, theirs) == theirs
    kept = [number for number in [*range(20), *range(30, 34)] if number not in theirs]
    check(store, kept)
    check(open_store(tmp_path), kept)
    needles = [bytes.fromhex(each) for each in (owner(2), *map(address, theirs))]
    assert not any(each in path.read_bytes() for path in store.folder.iterdir() for each in needles)
    assert find_rows(tmp_path / "nothing", [owner(2)], []) == []


def test_a_shard_of_nobody_else_is_gone(tmp_path):
    store = open_store(tmp_path)
    write(store, [2, 7, 12, 17])
    remove_rows(tmp_path, [owner(2)], [])
    assert [path.name for path in store.folder.iterdir()] == ["manifest.json"]


def test_readers_and_a_writer_meanwhile(tmp_path):
    write(open_store(tmp_path), range(200))
    kept = [number for number in range(200) if number % 5]
    failed, stop = [], threading.Event()

    def read():
        reader = open_store(tmp_path)
        while not stop.is_set():
            try:
                check(reader, kept)
            except Exception as error:
                failed.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    write(open_store(tmp_path), range(200, 240))
    remove_rows(tmp_path, [owner(0)], [])
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert missing(open_store(tmp_path), range(0, 240, 5)) == list(range(0, 240, 5))


@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_a_killed_removal_is_finished_by_the_next(tmp_path, monkeypatch, call):
    store = open_store(tmp_path)
    write(store, range(4))

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, call, killed)
        remove_rows(tmp_path, [owner(1)], [])
    check(open_store(tmp_path), [0, 2, 3])
    remove_rows(tmp_path, [owner(1)], [])
    assert missing(store, range(4)) == [1]


def test_the_oldest_of_two_rows_is_still_served_after_a_removal(tmp_path):
    store = open_store(tmp_path)
    write(store, [0, 1])
    with store.writer() as writer:
        writer.add(address(0), vectors(99), owner(0))
    remove_rows(tmp_path, [owner(1)], [])
    check(open_store(tmp_path), [0])


def test_damaged_and_half_written_shards_are_removed_too(tmp_path):
    store = open_store(tmp_path)
    write(store, range(5))
    damaged, unreadable = shards(store)
    content = damaged.read_bytes()
    if bytes.fromhex(owner(1)) not in content:
        damaged, unreadable, content = unreadable, damaged, unreadable.read_bytes()
    (store.folder / f".{damaged.name}.77.tmp").write_bytes(content[:-9])
    (store.folder / "other.tmp").write_bytes(b"of somebody else")
    damaged.write_bytes(content.replace(vectors(0)["mean"].numpy().tobytes(), vectors(9)["mean"].numpy().tobytes()))
    unreadable.write_bytes(content[:20])
    assert [(each.rows, each.damaged) for each in find_rows(tmp_path, [owner(1)], [])] == [(1, 2)]
    remove_rows(tmp_path, [owner(1)], [])
    assert sorted(each.name for each in store.folder.iterdir()) == ["manifest.json", "other.tmp"]


def test_shards_of_the_first_format_are_removed_too(tmp_path):
    """They have checksums of each row, and a name that is no digest of the file."""
    (tmp_path / "0123456789abcdef").mkdir()
    path = tmp_path / "0123456789abcdef" / "0123456789ab-00.safetensors"
    hashes = [torch.frombuffer(bytearray.fromhex(f(1) + f(2)), dtype=torch.uint8).view(2, 32) for f in (address, owner)]
    tensors = {"mean": torch.ones(2, 3), "rows": hashes[0], "owners": hashes[1]}
    save_file({**tensors, "checksums": torch.zeros(2, 1, 8, dtype=torch.uint8)}, path, {"key": "0", "index": "1"})
    assert [each.rows for each in remove_rows(tmp_path, [owner(4)], [])] == [0] and path.exists()
    assert [each.rows for each in remove_rows(tmp_path, [owner(2)], [])] == [1] and not path.exists()


def test_a_store_that_cannot_be_searched_is_named(open_folder, plain_user):
    store = open_store(open_folder)
    write(store, [1])
    shards(store)[0].chmod(0)
    with plain_user(), pytest.raises(UserError, match=r"Could not search .*safetensors: Permission denied"):
        find_rows(open_folder, [owner(1)], [])
