"""A pipe, folder or socket in the place of a file is named, not waited for."""

import contextlib
import os
import socket

import pytest

from style_match.data.dataset import read_folder
from style_match.data.splits import read_stored
from style_match.utils.errors import UserError

from .conftest import MakeFolder


def make_socket(path):
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:  # its path may be 107 characters long
        made.bind(path.name)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, make_socket])
def test_what_is_no_file(make_folder: MakeFolder, make) -> None:
    header, rows = ("profile_id", "image", "fashion_style"), [("a", "a.jpg", "x"), ("b", "b.jpg", "y")]
    root = make_folder(header=header, profiles=rows)
    folder = read_folder(root, task="style")
    for name, task in (("couples.csv", "couple"), ("metadata.jsonl", "profile"), ("classes.json", "style")):
        make(root / name)
        with pytest.raises(UserError, match=rf"{name}.*is not a file but a folder or a pipe"):
            read_folder(root, task=task)
        (root / name).rename(root / f"{name}.old")
    make(root / "split.csv")
    with pytest.raises(UserError, match=r"split\.csv.*is not a file but a folder or a pipe"):
        read_stored(folder, root / "split.csv", ["split"])
    (root / "profiles.csv").unlink()
    make(root / "profiles.parquet")
    with pytest.raises(UserError, match=r"profiles\.parquet.*is not a file but a folder or a pipe"):
        read_folder(root, task="style")


def test_times_of_parquet_out_of_range(make_folder: MakeFolder) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    root = make_folder(header=("profile_id", "image"), profiles=[("a", "a.jpg"), ("b", "b.jpg")])
    (root / "profiles.csv").unlink()
    times = pa.array([2**58, 0], pa.timestamp("ms"))
    table = pa.table({"profile_id": ["a", "b"], "image": ["a.jpg", "b.jpg"], "seen": times})
    parquet.write_table(table, root / "profiles.parquet", version="2.6")
    with pytest.raises(UserError, match=r"profiles\.parquet.*is not a readable Parquet file"):
        read_folder(root, task="profile")
