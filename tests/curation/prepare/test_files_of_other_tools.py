"""Sources as other tools write them; every remedy that a message proposes is applied, and the command then works."""

import csv
import json
import os
import shutil
from pathlib import Path

import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

from style_match.curation.labels import join
from style_match.curation.sources import Columns, Source, read_source
from style_match.data.records import Faults
from style_match.utils.errors import UserError

from .sources import jpeg, write
from .sources import photo as drawn

COLUMNS = Columns("profile_id", "image", "fashion_style", "fashion_style")


def photo(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (16, 24), (shade, 255 - shade, 90)).save(path)
    return path


def read(root: Path, **options) -> Source:
    faults = Faults(root, 20)
    given = {"kind": "auto", "columns": COLUMNS, "image_root": None, "ids": "stem", **options}
    source = read_source(root, faults=faults, **given)
    faults.raise_if_any()
    return source


def ids(source: Source) -> list[str]:
    return [each.profile_id for each in source.photos]


def test_one_stem_twice(tmp_path: Path) -> None:
    for name in ("IMG_1.JPG", "IMG_1.PNG", "IMG_2.JPG", "a/IMG_1.JPG", "IMG_1.JPG.png", "IMG_1.JPG.gif"):
        photo(tmp_path / name)
    with pytest.raises(UserError, match=r"have one id, 'IMG_1'; rename one, or take whole paths for ids with ids=path"):
        read(tmp_path)
    assert sorted(ids(read(tmp_path, ids="path"))) == [
        "IMG_1.JPG", "IMG_1.JPG.gif", "IMG_1.JPG.png", "IMG_1.PNG", "IMG_2", "a/IMG_1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "folder",
    [
        "@eaDir",
        "#recycle",
        "$RECYCLE.BIN",
        "lost+found",
        "__MACOSX",
        "System Volume Information",
        "#snapshot",
        ".trash",
    ],
)
def test_system_folders(tmp_path: Path, folder: str) -> None:
    for place in ("A/1.jpg", "B/2.jpg"):
        photo(tmp_path / place)
        photo(tmp_path / Path(place).parent / folder / Path(place).name / "SYNOPHOTO_THUMB_M.jpg")
    photo(tmp_path / folder / "9.jpg")
    found = read(tmp_path)
    assert found.kind == "classes" and ids(found) == ["1", "2"]
    said = "3 photos in system folders are passed over (such as @eaDir or #recycle)"
    assert (said in found.notes) == (not folder.startswith("."))


def struct(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
    labels = pyarrow.array(["A", "B"] * (len(rows) // 2))
    parquet.write_table(pyarrow.table({"image": pyarrow.array(rows, kind), "fashion_style": labels}), path)


@pytest.mark.parametrize("absolute", [True, False])
def test_paths_without_bytes(tmp_path: Path, absolute: bool) -> None:
    inside, outside = photo(tmp_path / "source/raw/여.png"), photo(tmp_path / "elsewhere/b.png", 9)
    name = lambda path, base: str(path if absolute else path.relative_to(base))  # noqa: E731
    root = tmp_path / "source"
    struct(root / "train.parquet", [{"bytes": None, "path": name(inside, root)}, {"bytes": b"x", "path": "gone.png"}])
    assert [each.content() for each in read(root, kind="parquet").photos] == [inside.read_bytes(), b"x"]
    struct(root / "train.parquet", [{"bytes": None, "path": name(outside, outside.parent)}] * 2)
    with pytest.raises(UserError) as caught:
        read(root, kind="parquet").photos[0].content()
    assert str(caught.value).startswith("train.parquet, row 1 has no bytes, only a path: ")
    assert "image_root" in str(caught.value) or not absolute
    assert read(root, kind="parquet", image_root=outside.parent).photos[0].content() == outside.read_bytes()


def test_stored_paths_do_not_lead_out(tmp_path: Path) -> None:
    photo(tmp_path / "secret.png")
    for path in ("../secret.png", str(tmp_path / "source/../secret.png"), "/etc/passwd"):
        struct(tmp_path / "source/train.parquet", [{"bytes": None, "path": path}] * 2)
        with pytest.raises(UserError, match="has no bytes, only a path"):
            read(tmp_path / "source").photos[0].content()


def labels(root: Path, columns: Columns = COLUMNS, **options) -> list[str]:
    faults = Faults(root, 20)
    labelled = join(read(root, columns=columns), None, ["fashion_style"], columns, faults)
    faults.raise_if_any()
    return [each.columns.get("fashion_style", "") for each in labelled.source.photos]


HF_LINES = [{"file_name": "a.jpg", "fashion_style": "A"}, {"file_name": "b.jpg", "fashion_style": "B"}]


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    for shade, name in enumerate(("a.jpg", "b.jpg")):
        photo(tmp_path / name, shade)
    return tmp_path


@pytest.mark.parametrize("key", ["image", "file_name", "photo"])
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
@pytest.mark.parametrize("label", ["fashion_style", "label"])
def test_metadata_of_image_folders(image_folder: Path, key: str, kind: str, label: str) -> None:
    rows = [{key: each["file_name"], label: each["fashion_style"]} for each in HF_LINES]
    if kind == "jsonl":
        (image_folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        with open(image_folder / "metadata.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, [key, label])
            writer.writeheader()
            writer.writerows(rows)
    columns = Columns("profile_id", "photo" if key == "photo" else "image", label, "fashion_style")
    assert labels(image_folder, columns) == ["A", "B"]


def test_metadata_without_a_known_key_names_its_keys(image_folder: Path) -> None:
    (image_folder / "metadata.jsonl").write_text('{"filename": "a.jpg", "fashion_style": "A"}')
    with pytest.raises(
        UserError, match='has no "image": "FILE", which names the photo; its keys are filename, fashion'
    ):
        labels(image_folder)
    assert labels(image_folder, Columns("profile_id", "filename", "fashion_style", "fashion_style")) == ["A", ""]


def test_two_files_of_metadata_and_one_about_something_else(image_folder: Path) -> None:
    (image_folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, HF_LINES)))
    (image_folder / "metadata.csv").write_text("camera,owner\nx,y\n")
    assert labels(image_folder) == ["A", "B"]
    (image_folder / "metadata.csv").write_text("file_name,fashion_style\na.jpg,A\n")
    with pytest.raises(UserError, match=r"metadata.jsonl and metadata.csv are both there; remove one"):
        labels(image_folder)


@pytest.fixture
def split_folders(tmp_path: Path) -> Path:
    """train/train1.jpg and so on, each folder with its own metadata: two of jsonl, one of csv."""
    root = tmp_path / "hub"
    for number, split in enumerate(("train", "validation", "test")):
        rows = [{"file_name": f"{split}{n}.jpg", "fashion_style": "AB"[n]} for n in range(2)]
        for n, row in enumerate(rows):
            write(root / split / row["file_name"], jpeg(drawn(2 * number + n)))
        if split == "test":
            lines = "".join(f"{row['file_name']},{row['fashion_style']}\n" for row in rows)
            (root / split / "metadata.csv").write_text(f"file_name,fashion_style\n{lines}")
        else:
            (root / split / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


def test_metadata_in_folders_of_splits(split_folders: Path) -> None:
    source = read(split_folders)
    assert source.kind == "tables" and "split: as the folders test, train, validation say" in source.notes
    assert not any("no photo" in note for note in source.notes)
    splits = {each.profile_id: each.columns["split"] for each in source.photos}
    assert splits == {
        f"{name}{n}": "val" if name == "validation" else name
        for name in ("test", "train", "validation")
        for n in range(2)
    }
    assert labels(split_folders) == ["A", "B"] * 3


def test_faults_of_folders_of_splits_name_their_file(split_folders: Path) -> None:
    with open(split_folders / "train/metadata.jsonl", "a") as file:
        file.write('\n{"file_name": "gone.png"}\n{')
    with open(split_folders / "test/metadata.csv", "a") as file:
        file.write("gone.png,A\n")
    with pytest.raises(UserError) as caught:
        labels(split_folders)
    said = str(caught.value)
    assert "train/metadata.jsonl, line 3: no photo 'gone.png' in the source" in said
    assert "train/metadata.jsonl, line 4: is broken JSON" in said
    assert "test/metadata.csv, line 4: no photo 'gone.png' in the source" in said


def test_metadata_in_folders_of_splits_and_above_them(split_folders: Path) -> None:
    photo(split_folders / "more.png")
    with pytest.raises(UserError, match=r"more\.png: lies in no folder of a split, as test, train, validation are"):
        read(split_folders)
    (split_folders / "more.png").unlink()
    (split_folders / "metadata.jsonl").write_text('{"file_name": "train/train0.jpg", "fashion_style": "A"}')
    with pytest.raises(UserError, match=r"metadata is here and in test, train, validation; .*metadata=FILE"):
        labels(split_folders)


def test_a_split_without_a_folder_is_told_before_photos_are_read(split_folders: Path) -> None:
    shutil.rmtree(split_folders / "validation")
    with pytest.raises(UserError, match=r"no photo is in a folder val; move a part of another split"):
        read(split_folders)


def test_folders_of_splits_are_prepared_with_them(split_folders: Path, run) -> None:
    out = run(split_folders).folder.root
    with open(out / "profiles.csv", newline="") as file:
        rows = {row["profile_id"]: (row["fashion_style"], row["split"]) for row in csv.DictReader(file)}
    assert rows["train1"] == ("B", "train") and rows["validation0"] == ("A", "val") and len(rows) == 6


def snapshot(root: Path) -> Path:
    for number, name in enumerate(("A/1.jpg", "B/2.jpg")):
        target = photo(root / "blobs" / f"{number}.jpg", number)
        link = root / "snapshots/abc" / name
        link.parent.mkdir(parents=True)
        link.symlink_to(os.path.relpath(target, link.parent))
    return root / "snapshots/abc"


def test_links_out_of_a_source_are_allowed_by_their_target(tmp_path: Path) -> None:
    root = snapshot(tmp_path)
    with pytest.raises(UserError, match=r"is a symbolic link out of the folder, to .*image_root=FOLDER"):
        read(root)
    for target in (tmp_path, tmp_path / "blobs"):
        assert ids(read(root, image_root=target)) == ["1", "2"]
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="is a symbolic link out of the folder"):
        read(root, image_root=tmp_path / "other")


def test_links_out_of_a_table(tmp_path: Path) -> None:
    root = snapshot(tmp_path)
    (root / "profiles.csv").write_text("profile_id,image,fashion_style\n1,A/1.jpg,A\n2,B/2.jpg,B\n")
    with pytest.raises(UserError, match="copy the file or set image_root to a folder that holds") as caught:
        read(root)
    assert "data.image_root" not in str(caught.value)
    assert ids(read(root, image_root=tmp_path / "blobs")) == ["1", "2"]


def test_ids_in_parquet_that_lost_digits(tmp_path: Path) -> None:
    photos = [photo(tmp_path / "x.png").read_bytes()] * 2
    columns = {"profile_id": [1.2345678901234567e18, 1.2345678901234567e18], "image": photos}
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    with pytest.raises(
        UserError,
        match=r"'1.2345678901234568e\+18' is a rounded number.*write it again as text".replace("w", "[wW]", 1),
    ):
        read(tmp_path, kind="parquet")
    columns["profile_id"] = ["1234567890123456789", "1234567890123456788"]
    parquet.write_table(pyarrow.table(columns), tmp_path / "train.parquet")
    assert ids(read(tmp_path, kind="parquet")) == columns["profile_id"]
