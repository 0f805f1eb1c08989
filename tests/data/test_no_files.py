"""What is in the place of a table and is no file."""

import contextlib
import os
import socket
from pathlib import Path

import pytest

from style_match.data.dataset import read_folder
from style_match.data.splits import read_stored
from style_match.utils.errors import UserError


def folder(root: Path) -> Path:
    (root / "images").mkdir()
    (root / "profiles.csv").write_text("profile_id,image,fashion_style\na,images/a.jpg,x\nb,images/b.jpg,y\n")
    for name in "ab":
        (root / "images" / f"{name}.jpg").write_bytes(b"x")
    return root


def make_socket(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as made:  # its path may be 107 characters long
        made.bind(path.name)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, make_socket])
@pytest.mark.parametrize("name", ["profiles.csv", "profiles.parquet", "couples.csv", "couples.parquet", "classes.json"])
def test_tables_that_are_no_files(tmp_path, name, make):
    folder(tmp_path)
    task = "style" if name == "classes.json" else "couple"
    if name.startswith("profiles"):
        (tmp_path / "profiles.csv").unlink()
    make(tmp_path / name)
    with pytest.raises(UserError, match=rf"{name}.*is not a file but a folder or a pipe"):
        read_folder(tmp_path, task=task)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, make_socket])
def test_a_stored_split_that_is_no_file(tmp_path, make):
    read = read_folder(folder(tmp_path), task="style")
    make(tmp_path / "split.csv")
    with pytest.raises(UserError, match=r"split\.csv.*is not a file but a folder or a pipe"):
        read_stored(read, tmp_path / "split.csv", ["split"])


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_metadata_that_is_no_file(tmp_path, make):
    make(folder(tmp_path) / "metadata.jsonl")
    with pytest.raises(UserError, match=r"metadata\.jsonl.*is not a file but a folder or a pipe"):
        read_folder(tmp_path, task="profile")


def test_times_of_parquet_out_of_range(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    folder(tmp_path)
    (tmp_path / "profiles.csv").unlink()
    times = pa.array([2**58, 0], pa.timestamp("ms"))
    table = pa.table({"profile_id": ["a", "b"], "image": ["images/a.jpg", "images/b.jpg"], "seen": times})
    parquet.write_table(table, tmp_path / "profiles.parquet", version="2.6")
    with pytest.raises(UserError, match=r"profiles\.parquet.*is not a readable Parquet file"):
        read_folder(tmp_path, task="profile")
