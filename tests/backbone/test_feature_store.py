"""The feature store serves the right row or computes it again: damage, kills, several writers, removal."""

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
import warnings
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from style_match.backbone.feature_store import FeatureStore, remove_rows
from style_match.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("error")
IDENTITY = {"files": {"config.json": "1" * 64}, "dtype": "fp32", "layer": None, "poolings": ["eos", "mean"]}
fork = multiprocessing.get_context("fork")  # torch is loaded already; the children only hash and write files


def address(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def owner(number: int) -> str:
    """Five people own all rows."""
    return hashlib.sha256(f"owner {number % 5}".encode()).hexdigest()


def vectors(number: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {name: torch.randn(6, generator=generator) for name in ("eos", "mean")}


def open_store(root: Path, *, shard_rows: int = 4, identity: dict = IDENTITY) -> FeatureStore:
    return FeatureStore(root, identity, shard_rows=shard_rows)


def write(store: FeatureStore, numbers) -> None:
    with store.writer() as writer:
        for number in numbers:
            writer.add(address(number), vectors(number), owner(number))


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


@pytest.mark.parametrize("changes", [{"dtype": "bf16"}, {"poolings": ["eos"]}, {"more": None}])
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


def test_a_row_computed_twice_is_served_as_first_written(tmp_path):
    store = open_store(tmp_path)
    write(store, [1, 2])
    for i in range(4):
        with open_store(tmp_path).writer() as writer:
            writer.add(address(1), vectors(100 + i), owner(3))
    check(store, [1, 2])
    check(open_store(tmp_path), [1, 2])
    remove_rows(tmp_path, [owner(2)])  # rewrites the first shard
    check(open_store(tmp_path), [1])


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


# ---------------------------------------------------------------- damage, kills, several processes


@pytest.fixture(scope="module")
def pristine(tmp_path_factory) -> Path:
    """Root of a store of two shards, rows 0 to 3 and 4 to 6."""
    root = tmp_path_factory.mktemp("pristine")
    write(open_store(root), range(7))
    return root


@given(data=st.data())
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


def test_a_killed_process_loses_the_shard_in_progress(tmp_path):
    def job(reached):
        with open_store(tmp_path).writer() as writer:
            for number in range(14):
                writer.add(address(number), vectors(number))
            reached.set()
            time.sleep(60)

    reached = fork.Event()
    process = fork.Process(target=job, args=(reached,))
    process.start()
    assert reached.wait(30)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    store = open_store(tmp_path)
    assert missing(store, range(20)) == list(range(12, 20))
    check(store, range(12))


def test_several_writers_and_then_a_removal_while_another_process_reads(tmp_path):
    def job(seed):
        for start in range(0, 60, 6):
            shared = [(7 * seed * i) % 61 for i in range(start + 1, start + 7)]
            write(open_store(tmp_path), [*shared, 1000 * seed + start])

    writers = [fork.Process(target=job, args=(seed,)) for seed in (1, 2, 3)]
    remover = fork.Process(target=remove_rows, args=(tmp_path, [owner(0)]))
    reader, kept = open_store(tmp_path), [number for number in range(1, 61) if number % 5]
    for processes in (writers, [remover]):
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes):
            lacking = set(missing(reader, kept))
            check(reader, [number for number in kept if number not in lacking])
        assert {process.exitcode for process in processes} == {0}
    check(reader, [*kept, *(1000 * seed + start for seed in (1, 2, 3) for start in range(0, 60, 6) if start % 5)])
    assert missing(reader, range(0, 61, 5)) == list(range(0, 61, 5))
    assert not list(reader.folder.glob("*.tmp"))


def test_rows_added_before_an_interrupt_are_kept(tmp_path):
    with pytest.raises(KeyboardInterrupt), open_store(tmp_path).writer() as writer:
        for number in range(6):
            writer.add(address(number), vectors(number))
        raise KeyboardInterrupt
    assert missing(open_store(tmp_path), range(8)) == [6, 7]


@pytest.fixture
def open_folder():
    """A folder that every user of the machine may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_folder_without_permissions(open_folder, plain_user):
    write(open_store(open_folder), range(5))
    folder, (first, second) = open_store(open_folder).folder, shards(open_store(open_folder))
    folder.chmod(0o555)
    with plain_user():
        store = open_store(open_folder)
        check(store, range(5))
        with pytest.raises(UserError, match=r"Permission denied.*features\.root"), store.writer():
            raise AssertionError("the block was entered")
    content = first.read_bytes()
    first.write_bytes(content[:-1])
    with plain_user(), pytest.raises(UserError, match=rf"{first.name} is damaged .* Delete it \(Permission denied\)"):
        open_store(open_folder)
    first.write_bytes(content)
    second.chmod(0)
    with plain_user(), pytest.raises(UserError, match=r"Could not read .*safetensors: Permission denied"):
        open_store(open_folder)
    with plain_user(), pytest.raises(UserError, match=r"Could not search .*safetensors: Permission denied"):
        remove_rows(open_folder, [owner(1)], dry_run=True)
    folder.chmod(0o755)


# ---------------------------------------------------------------- removal of a person's rows


def test_rows_are_removed_by_owner(tmp_path):
    store, theirs = open_store(tmp_path), [2, 7, 12, 17]
    write(store, range(20))
    assert remove_rows(tmp_path, [owner(2)], dry_run=True) == 4 and missing(store, theirs) == []
    assert remove_rows(tmp_path, [owner(2)]) == 4 and missing(store, theirs) == theirs
    kept = [number for number in range(20) if number not in theirs]
    check(store, kept)
    check(open_store(tmp_path), kept)
    needles = [bytes.fromhex(each) for each in (owner(2), *map(address, theirs))]
    assert not any(each in path.read_bytes() for path in store.folder.iterdir() for each in needles)
    remove_rows(tmp_path, [owner(number) for number in range(5)])
    assert [path.name for path in store.folder.iterdir()] == ["manifest.json"], "no shard without rows is left"
    assert remove_rows(tmp_path / "nothing", [owner(2)]) == 0


@pytest.mark.parametrize("call", ["replace", "unlink"])
def test_a_killed_removal_is_finished_by_the_next(tmp_path, monkeypatch, call):
    store = open_store(tmp_path)
    write(store, range(4))

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, call, killed)
        remove_rows(tmp_path, [owner(1)])
    check(open_store(tmp_path), [0, 2, 3])
    remove_rows(tmp_path, [owner(1)])
    assert missing(store, range(4)) == [1]


def test_damaged_and_half_written_shards_are_removed_too(tmp_path):
    store = open_store(tmp_path)
    write(store, range(5))
    damaged, unreadable = sorted(shards(store), key=lambda path: bytes.fromhex(owner(1)) not in path.read_bytes())
    content = damaged.read_bytes()
    (store.folder / f".{damaged.name}.77.tmp").write_bytes(content[:-9])
    (store.folder / "other.tmp").write_bytes(b"of somebody else")
    damaged.write_bytes(content.replace(vectors(0)["mean"].numpy().tobytes(), vectors(9)["mean"].numpy().tobytes()))
    unreadable.write_bytes(content[:20])
    remove_rows(tmp_path, [owner(1)])
    assert sorted(each.name for each in store.folder.iterdir()) == ["manifest.json", "other.tmp"]
