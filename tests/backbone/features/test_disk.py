"""Full disks, folders that cannot be written, interrupts: one message, no half file, nothing lost that was written."""

import errno
import os
import subprocess
import time

import pytest

from style_match.utils.errors import UserError

pytestmark = pytest.mark.filterwarnings("error")


def files(store):
    return sorted(path.name for path in store.folder.iterdir())


def full_disk_after(num_bytes: int, real_write):
    """An `os.write` that takes some more bytes, then reports a full disk."""
    left = num_bytes

    def write(descriptor, content):
        nonlocal left
        if left == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = real_write(descriptor, memoryview(content)[: min(left, 64)])
        left -= taken
        return taken

    return write


@pytest.mark.parametrize("num_bytes", [0, 1, 500, 700])
def test_full_disk_while_writing_a_shard(tmp_path, rows, monkeypatch, num_bytes):
    store = rows.store(tmp_path)
    rows.write(store, range(4))
    before = files(store)
    with monkeypatch.context() as patch, pytest.raises(UserError) as caught:
        patch.setattr(os, "write", full_disk_after(num_bytes, os.write))
        rows.write(store, range(4, 9))
    message = str(caught.value)
    assert str(store.folder) in message and "No space left on device" in message and "features.root=" in message
    assert "4 rows computed last are lost" in message
    assert files(store) == before
    assert rows.compute_missing(rows.store(tmp_path), range(9)) == [4, 5, 6, 7, 8]
    rows.check(store, range(9))


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
def test_any_failing_call_leaves_no_trace(tmp_path, rows, monkeypatch, call):
    store = rows.store(tmp_path)
    rows.write(store, range(4))
    before = files(store)
    real = getattr(os, call)

    def fail(*arguments, **keywords):
        if call == "open" and not str(arguments[0]).endswith(".tmp"):
            return real(*arguments, **keywords)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(UserError, match="Input/output error"), store.writer() as writer:
        monkeypatch.setattr(os, call, fail)
        writer.add(rows.address(7), rows.vectors(7))
    monkeypatch.undo()
    assert files(store) == before
    rows.check(rows.store(tmp_path), range(4))


def test_write_in_small_pieces(tmp_path, rows, monkeypatch):
    """The operating system may take less than it was given."""
    store = rows.store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full_disk_after(10**9, os.write))
        rows.write(store, range(3))
    rows.check(rows.store(tmp_path), range(3))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_rows_complete_when_the_work_breaks_off_are_kept(tmp_path, rows, error):
    store = rows.store(tmp_path)
    with pytest.raises(error), store.writer() as writer:
        for number in range(6):
            writer.add(rows.address(number), rows.vectors(number))
        raise error
    assert rows.compute_missing(rows.store(tmp_path), range(8)) == [6, 7]


def test_an_interrupt_while_a_shard_is_written_loses_nothing(tmp_path, rows, monkeypatch):
    store = rows.store(tmp_path)
    rows.write(store, [9])
    real_fsync = os.fsync

    def interrupted(descriptor):
        monkeypatch.setattr(os, "fsync", real_fsync)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rows.write(store, range(5))
    assert rows.compute_missing(rows.store(tmp_path), range(5)) == [4]
    assert not list(store.folder.glob("*.tmp"))


def test_what_broke_the_work_off_is_told_also_when_the_disk_is_full(tmp_path, rows, monkeypatch):
    store = rows.store(tmp_path)
    with (
        pytest.raises(UserError, match=r"^photo 3 is broken$"),
        pytest.warns(UserWarning, match="No space left on device"),
        store.writer() as writer,
    ):
        writer.add(rows.address(1), rows.vectors(1))
        monkeypatch.setattr(os, "write", full_disk_after(0, os.write))
        raise UserError("photo 3 is broken")


def test_a_root_that_cannot_be_a_folder(tmp_path, rows):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/.*: Not a directory"):
        rows.store(tmp_path / "file")


def test_unwritable_folder_is_told_before_anything_is_computed(open_folder, rows, plain_user):
    open_folder.chmod(0o555)
    with plain_user(), pytest.raises(UserError) as caught, rows.store(open_folder / "features").writer():
        raise AssertionError("work began")
    assert str(open_folder) in str(caught.value)
    assert "Permission denied" in str(caught.value) and "features.root=" in str(caught.value)


def test_a_folder_that_is_read_only_serves_its_rows(open_folder, rows, plain_user):
    rows.write(rows.store(open_folder), range(5))
    folder = rows.store(open_folder).folder
    folder.chmod(0o555)
    with plain_user():
        store = rows.store(open_folder)
        rows.check(store, range(5))
        with pytest.raises(UserError, match="cannot be written: Permission denied"), store.writer():
            raise AssertionError("work began")
    folder.chmod(0o755)


def test_a_shard_that_may_not_be_read_is_named(open_folder, rows, plain_user):
    store = rows.store(open_folder)
    rows.write(store, [1])
    (path,) = store.folder.glob("*.safetensors")
    path.chmod(0)
    with plain_user():
        with pytest.raises(UserError, match=f"{path}: Permission denied"):
            rows.store(open_folder)
        with pytest.raises(UserError, match="Cannot read the feature store"):
            store.load([rows.address(1)], "mean")


def test_temporary_files_of_killed_processes_are_cleared_away(tmp_path, rows):
    store = rows.store(tmp_path)
    rows.write(store, [1])
    abandoned, in_use = store.folder / "abandoned.tmp", store.folder / "in_use.tmp"
    for path in (abandoned, in_use):
        path.write_bytes(b"half a shard")
    long_ago = time.time() - 2 * 3600
    os.utime(abandoned, (long_ago, long_ago))
    rows.write(store, [2])
    assert not abandoned.exists() and in_use.exists()
    rows.check(rows.store(tmp_path), [1, 2])


def test_a_disk_that_is_really_full(tmp_path, rows):
    """On a file system of 1 MB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        store = rows.store(tmp_path, shard_rows=16)

        def fill():
            with store.writer() as writer:
                for number in range(2000):
                    writer.add(rows.address(number), rows.vectors(number, dim=512))

        with pytest.raises(UserError, match=r"No space left on device.*features\.root="):
            fill()
        assert not list(store.folder.glob("*.tmp"))
        kept = 2000 - len(rows.store(tmp_path).missing([rows.address(number) for number in range(2000)]))
        assert 100 < kept < 256 and kept % 16 == 0
        loaded = rows.store(tmp_path).load([rows.address(number) for number in range(kept)], "mean")
        assert all(loaded[i].equal(rows.vectors(i, dim=512)["mean"]) for i in range(kept))
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
