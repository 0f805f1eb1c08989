"""A damaged shard is detected, named, moved aside and never served, whatever byte was hit."""

import os
import re
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from style_match.backbone.feature_store import CorruptRows

pytestmark = pytest.mark.filterwarnings("error")

DAMAGED, SOUND = [0, 1, 2, 3], [4, 5, 6]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory, rows):
    """Root of a store of two shards: path and bytes of the one to damage."""
    root = tmp_path_factory.mktemp("pristine")
    store = rows.store(root)
    rows.write(store, DAMAGED)
    (path,) = store.folder.glob("*.safetensors")
    rows.write(store, SOUND)
    return root, path, path.read_bytes()


def check_never_served(rows, root, path, opened=None):
    """Opening and reading a store with a damaged shard; afterwards it is repaired by computing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        store = opened or rows.store(root)
        messages = [str(warning.message) for warning in caught]
    rows.check(store, SOUND)
    if not store.missing([rows.address(i) for i in DAMAGED]):
        with pytest.raises(CorruptRows) as error:
            rows.check(store, DAMAGED)
            rows.check(store, DAMAGED[::-1])
        messages.append(str(error.value))
        assert error.value.shards == (path,)
    assert len(messages) == 1 and str(path) in messages[0]
    aside = path.with_name(path.name + ".corrupt")
    assert aside.name in messages[0]
    assert aside.exists() and not path.exists()
    again = rows.store(root)  # without a warning: whoever comes later does not meet it
    assert rows.compute_missing(again, DAMAGED + SOUND) == DAMAGED
    rows.check(again, DAMAGED + SOUND)


@pytest.fixture
def damage(pristine, tmp_path, rows):
    """Puts the two shards into a fresh root with one of them changed, and checks what becomes of it."""
    _, path, content = pristine
    count = 0

    def check(changed: bytes, *, open_before: bool = False):
        nonlocal count
        assert changed != content
        count += 1
        copy = tmp_path / str(count)
        folder = copy / path.parent.name
        folder.mkdir(parents=True)
        for file in path.parent.iterdir():
            os.link(file, folder / file.name)
        target = folder / path.name
        opened = rows.store(copy) if open_before else None
        target.unlink()
        target.write_bytes(changed)
        check_never_served(rows, copy, target, opened)

    check.content = content
    return check


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.thorough)])
def test_every_byte_of_a_shard_is_covered(damage, step):
    for position in range(0, len(damage.content), step):
        changed = bytearray(damage.content)
        changed[position] ^= 1 << position % 8
        damage(bytes(changed))


@given(flips=st.lists(st.tuples(st.integers(0, 10**6), st.integers(1, 255)), min_size=1, max_size=8))
@settings(suppress_health_check=["function_scoped_fixture"])
def test_several_bytes_at_random_places(damage, flips):
    changed = bytearray(damage.content)
    for position, mask in flips:
        changed[position % len(changed)] ^= mask
    if changed != damage.content:  # flips may undo one another
        damage(bytes(changed))


def test_cut_short_or_grown(damage):
    for length in (0, 1, 7, 8, 9, 100, len(damage.content) // 2, len(damage.content) - 1):
        damage(damage.content[:length])
    damage(damage.content + b"\0")


def test_float_rows_hit_while_the_store_is_open(damage):
    header = 8 + int.from_bytes(damage.content[:8], "little")
    for position in (header, header + 50, header + 100, header + 4 * 6 * 4 * 2 - 1):
        changed = bytearray(damage.content)
        changed[position] ^= 0x80
        damage(bytes(changed), open_before=True)
    damage(damage.content[: header + 60], open_before=True)


def test_sound_poolings_of_a_damaged_shard_are_served(pristine, tmp_path, rows):
    """Checksums are per pooling: what is read is what is verified."""
    _, path, content = pristine
    folder = tmp_path / path.parent.name
    folder.mkdir()
    header = 8 + int.from_bytes(content[:8], "little")
    changed = bytearray(content)
    changed[header] ^= 1  # the first float tensor is eos
    (folder / path.name).write_bytes(changed)
    store = rows.store(tmp_path)
    addresses = [rows.address(i) for i in DAMAGED]
    assert store.load(addresses, "mean").tolist() == [rows.vectors(i)["mean"].tolist() for i in DAMAGED]
    assert store.load(addresses[1:], "eos").tolist() == [rows.vectors(i)["eos"].tolist() for i in DAMAGED[1:]]
    with pytest.raises(CorruptRows, match=re.escape(f"{path.name}: eos of row 0 (moved aside as {path.name}.corrupt)")):
        store.load(addresses, "eos")


def test_several_damaged_shards_are_told_together(tmp_path, rows):
    store = rows.store(tmp_path)
    rows.write(store, range(12))
    paths = sorted(store.folder.glob("*.safetensors"))
    rows.check(store, range(12))
    for path in paths[:2]:
        content = bytearray(path.read_bytes())
        header = 8 + int.from_bytes(content[:8], "little")
        content[header + 1] ^= 1
        path.write_bytes(content)
    with pytest.raises(CorruptRows) as caught:
        rows.check(store, range(12))
    assert set(caught.value.shards) == set(paths[:2])
    assert all(str(path) in str(caught.value) for path in paths[:2]) and str(paths[2]) not in str(caught.value)
    assert len(rows.compute_missing(store, range(12))) == 8
    rows.check(store, range(12))


def test_a_shard_of_another_identity_is_not_served(tmp_path, rows):
    other = rows.store(tmp_path, identity={**rows.identity, "dtype": "bf16"})
    rows.write(other, [1])
    (foreign,) = other.folder.glob("*.safetensors")
    store = rows.store(tmp_path)
    rows.write(store, [2])
    foreign.rename(store.folder / foreign.name)
    with pytest.warns(UserWarning, match=f"{foreign.name} belongs to another store"):
        assert store.missing([rows.address(1)]) == [rows.address(1)]


def test_a_damaged_shard_that_cannot_be_moved_is_not_served(open_folder, rows, plain_user):
    rows.write(rows.store(open_folder), [1])
    (path,) = rows.store(open_folder).folder.glob("*.safetensors")
    rows.write(rows.store(open_folder), [2])
    path.write_bytes(path.read_bytes()[:-1])
    path.parent.chmod(0o555)
    with plain_user():
        with pytest.warns(UserWarning, match=f"{path.name} .*could not be moved aside: Permission denied"):
            store = rows.store(open_folder)
        for _ in range(2):  # told once
            assert store.missing([rows.address(1), rows.address(2)]) == [rows.address(1)]
    path.parent.chmod(0o755)


def test_a_damaged_row_that_cannot_be_moved_is_served_from_elsewhere(open_folder, rows, plain_user):
    rows.write(rows.store(open_folder), [1])
    (path,) = rows.store(open_folder).folder.glob("*.safetensors")
    rows.write(rows.store(open_folder), [1, 2])
    content = bytearray(path.read_bytes())
    content[8 + int.from_bytes(content[:8], "little")] ^= 1
    path.write_bytes(content)
    os.utime(path, (0, 0))  # the oldest is asked first
    path.parent.chmod(0o555)
    with plain_user():
        store = rows.store(open_folder)
        with pytest.raises(CorruptRows, match="could not be moved aside: Permission denied"):
            rows.check(store, [1, 2])
        rows.check(store, [1, 2])
        assert store.missing([rows.address(1), rows.address(2)]) == []
        rows.check(store, [1, 2])
    path.parent.chmod(0o755)
