"""Every kind of source, as other tools write them; remedies that a message proposes are applied and work."""

import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from style_match.curation.labels import join_labels
from style_match.curation.sources import Columns, Source, detect, read_source
from style_match.data.records import Faults
from style_match.utils.errors import UserError

from .sources import CLASSES, files_of, jpeg, jsonl, photo, read_rows, write

CONTENTS = [jpeg(photo(number)) for number in range(12)]
COLUMNS = Columns("profile_id", "image", "fashion_style", "fashion_style")


def read(root: Path, columns: Columns = COLUMNS, **options) -> Source:
    faults = Faults(root, 20)
    source = read_source(
        root, faults=faults, columns=columns, **{"kind": "auto", "image_root": None, "ids": "stem", **options}
    )
    faults.raise_if_any()
    return source


def ids(source: Source) -> list[str]:
    return [each.profile_id for each in source.photos]


def labels(root: Path, columns: Columns = COLUMNS) -> list[str]:
    faults = Faults(root, 20)
    source = join_labels(read(root, columns), None, ["fashion_style"], columns, faults)
    faults.raise_if_any()
    return [each.columns.get("fashion_style", "") for each in source.photos]


def write_photos(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        write(root / name, CONTENTS[number % 12])


# Class folders and plain folders.


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    write_photos(tmp_path / "classes", *(f"{CLASSES[number % 2]}/{number}.jpg" for number in range(12)))
    return tmp_path / "classes"


def test_class_folders(class_folders, tmp_path: Path, run):
    prepared = run(class_folders)
    assert prepared.record["identity"]["kind"] == "classes"
    assert {row["profile_id"]: row["fashion_style"] for row in read_rows(prepared.folder.root)}["3"] == "Street"
    splits = ("train", "train", "validation", "test")
    write_photos(tmp_path / "divided", *(f"{splits[n // 3]}/{CLASSES[n % 2]}/{n}.jpg" for n in range(12)))
    split = run(tmp_path / "divided", out="divided_out").record["counts"]["split"]
    assert split == {"train": 6, "val": 3, "test": 3}


def test_two_files_with_one_stem_need_paths_as_ids(tmp_path: Path):
    write_photos(tmp_path, "IMG_1.JPG", "IMG_1.PNG", "IMG_2.JPG", "a/IMG_1.JPG", "IMG_1.JPG.png", "IMG_1.JPG.gif")
    with pytest.raises(UserError, match=r"have one id, 'IMG_1'; rename one, or use paths as ids with ids=path"):
        read(tmp_path)
    assert sorted(ids(read(tmp_path, ids="path"))) == [
        "IMG_1.JPG", "IMG_1.JPG.gif", "IMG_1.JPG.png", "IMG_1.PNG", "IMG_2", "a/IMG_1",
    ]  # fmt: skip


@pytest.mark.parametrize("folder", ["@eaDir", ".trash"])
def test_system_folders_are_ignored(tmp_path: Path, folder: str) -> None:
    write_photos(tmp_path, "A/1.jpg", f"A/{folder}/1.jpg/SYNO.jpg", "B/2.jpg", f"B/{folder}/2.jpg", f"{folder}/9.jpg")
    found = read(tmp_path)
    assert found.kind == "classes" and ids(found) == ["1", "2"]
    assert any(note.startswith("3 photos in system folders") for note in found.notes) == (folder != ".trash")


def test_a_source_of_two_kinds_or_none_is_refused(class_folders, tmp_path: Path):
    assert detect(class_folders) == "classes"
    parquet.write_table(pa.table({"image": CONTENTS}), class_folders / "rows.parquet")
    with pytest.raises(UserError, match=r"can be read in 2 ways\. Choose one: kind=classes, kind=parquet"):
        detect(class_folders)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="contains no photos"):
        detect(tmp_path / "empty")


def test_links_out_of_a_source_need_the_folder_of_their_targets(tmp_path: Path) -> None:
    root = tmp_path / "snapshots/abc"
    for number, name in enumerate(("A/1.jpg", "B/2.jpg")):
        target = write(tmp_path / f"blobs/{number}.jpg", CONTENTS[number])
        (root / name).parent.mkdir(parents=True)
        (root / name).symlink_to(os.path.relpath(target, (root / name).parent))
    with pytest.raises(UserError, match=r"is a symbolic link out of the folder, to .*image_root=FOLDER"):
        read(root)
    for target in (tmp_path, tmp_path / "blobs"):
        assert ids(read(root, image_root=target)) == ["1", "2"]
    write(root / "profiles.csv", "profile_id,image,fashion_style\n1,A/1.jpg,A\n2,B/2.jpg,B\n")
    with pytest.raises(UserError, match="if all photos are links, set image_root to a folder that holds") as caught:
        read(root)
    assert "data.image_root" not in str(caught.value)
    assert ids(read(root, image_root=tmp_path / "blobs")) == ["1", "2"]


# Metadata of image folders of Hugging Face.


@pytest.mark.parametrize("key", ["image", "file_name", "photo"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.parametrize("label", ["fashion_style", "label"])
def test_metadata_of_image_folders(tmp_path: Path, key: str, suffix: str, label: str) -> None:
    write_photos(tmp_path, "a.jpg", "b.jpg")
    if suffix == "jsonl":
        write(tmp_path / "metadata.jsonl", jsonl({key: f"{name}.jpg", label: name.upper()} for name in "ab"))
    else:
        write(tmp_path / "metadata.csv", f"{key},{label}\na.jpg,A\nb.jpg,B\n")
    columns = Columns("profile_id", "photo" if key == "photo" else "image", label, "fashion_style")
    assert labels(tmp_path, columns) == ["A", "B"]


def test_two_metadata_files_and_one_about_something_else(tmp_path: Path) -> None:
    write_photos(tmp_path, "a.jpg", "b.jpg")
    write(tmp_path / "metadata.jsonl", '{"file_name": "a.jpg", "fashion_style": "A"}')
    write(tmp_path / "metadata.csv", "camera,owner\nx,y\n")
    assert labels(tmp_path) == ["A", ""]
    write(tmp_path / "metadata.csv", "file_name,fashion_style\na.jpg,A\n")
    with pytest.raises(UserError, match=r"metadata.jsonl and metadata.csv both exist; remove one"):
        labels(tmp_path)
    (tmp_path / "metadata.csv").unlink()
    write(tmp_path / "metadata.jsonl", '{"filename": "a.jpg", "fashion_style": "A"}')
    with pytest.raises(UserError, match=r'has no "image": "FILE".* its keys are filename, fashion'):
        labels(tmp_path)
    assert labels(tmp_path, Columns("profile_id", "filename", "fashion_style", "fashion_style")) == ["A", ""]


@pytest.fixture
def split_folders(tmp_path: Path) -> Path:
    """train/train0.jpg and so on; each folder has its own metadata, two as jsonl and one as csv."""
    root = tmp_path / "hub"
    for number, split in enumerate(("train", "validation", "test")):
        for n in range(2):
            write(root / split / f"{split}{n}.jpg", CONTENTS[2 * number + n])
        if split == "test":
            write(root / split / "metadata.csv", "file_name,fashion_style\ntest0.jpg,A\ntest1.jpg,B\n")
        else:
            lines = jsonl({"file_name": f"{split}{n}.jpg", "fashion_style": "AB"[n]} for n in range(2))
            write(root / split / "metadata.jsonl", lines)
    return root


def test_metadata_in_split_folders(split_folders: Path, run) -> None:
    source = read(split_folders)
    assert source.kind == "tables" and "split: taken from the folders test, train, validation" in source.notes
    rows = {
        row["profile_id"]: (row["fashion_style"], row["split"]) for row in read_rows(run(split_folders).folder.root)
    }
    assert rows["train1"] == ("B", "train") and rows["validation0"] == ("A", "val") and len(rows) == 6


def test_faults_in_split_folders_name_their_file(split_folders: Path) -> None:
    with open(split_folders / "train/metadata.jsonl", "a") as file:
        file.write('{"file_name": "gone.png"}\n{')
    with open(split_folders / "test/metadata.csv", "a") as file:
        file.write("gone.png,A\n")
    with pytest.raises(UserError) as caught:
        labels(split_folders)
    for fault in (
        "train/metadata.jsonl, line 3: no photo 'gone.png' in the source",
        "train/metadata.jsonl, line 4: is broken JSON",
        "test/metadata.csv, line 4: no photo 'gone.png' in the source",
    ):
        assert fault in str(caught.value)


def test_split_folders_have_every_photo_and_every_split(split_folders: Path) -> None:
    write(split_folders / "more.png", CONTENTS[8])
    with pytest.raises(UserError, match=r"more\.png: is in none of the split folders test, train, validation"):
        read(split_folders)
    (split_folders / "more.png").unlink()
    write(split_folders / "metadata.jsonl", '{"file_name": "train/train0.jpg", "fashion_style": "A"}')
    with pytest.raises(UserError, match=r"metadata is here and in test, train, validation; .*metadata=FILE"):
        labels(split_folders)
    shutil.rmtree(split_folders / "validation")
    with pytest.raises(UserError, match=r"no photo is in a folder val; .* set columns\.split=null"):
        read(split_folders)


def write_without_val(source: Path, kind: str) -> None:
    """Eight photos in train and four in test, as each kind of source says so."""
    words = ["train"] * 8 + ["test"] * 4
    folders = {"folders": "{split}", "classes": "{split}/{label}", "table": ".", "couples": "."}
    for n, split in enumerate(words if kind in folders else ()):
        write(source / folders[kind].format(split=split, label=CLASSES[n % 2]) / f"{n}.jpg", CONTENTS[n])
    rows = [f"{n},{n}.jpg,{CLASSES[n % 2]},{words[n]}" for n in range(12)]
    if kind == "folders":
        for split in ("train", "test"):
            names = [n for n in range(12) if words[n] == split]
            lines = jsonl({"file_name": f"{n}.jpg", "fashion_style": CLASSES[n % 2]} for n in names)
            write(source / split / "metadata.jsonl", lines)
    elif kind == "parquet":
        write_parquet(source / "data/train-0.parquet", structs(range(8)))
        write_parquet(source / "data/test-0.parquet", structs(range(8, 12)))
    elif kind == "table":
        write(source / "profiles.csv", "\n".join(["profile_id,image,fashion_style,split", *rows]))
    elif kind == "couples":
        write(source / "profiles.csv", "\n".join(["profile_id,image", *(row.rsplit(",", 2)[0] for row in rows)]))
        lines = [f"{n},{n + 1},{words[n]}" for n in range(0, 12, 2)]
        write(source / "couples.csv", "\n".join(["left_id,right_id,split", *lines]))


@pytest.mark.parametrize("kind", ["folders", "classes", "parquet", "table", "couples"])
def test_columns_split_null_draws_a_split_where_the_source_has_but_train_and_test(kind: str, tmp_path: Path, run):
    """Most public datasets have no val split: the remedy of the message is applied and works."""
    write_without_val(tmp_path / "rows", kind)
    with pytest.raises(UserError, match=r"no (row|photo) is in (split|a folder) '?val'?; (?s:.)*columns\.split=null"):
        run(tmp_path / "rows")
    options = ("columns.split=null", "split.fractions=[0.5,0.25,0.25]")
    split = run(tmp_path / "rows", *options).record["counts"]["split"]
    assert sum(split.values()) == (6 if kind == "couples" else 12) and min(split.values()) > 0


# Parquet and `datasets`.


def structs(numbers=range(12)) -> pa.Array:
    return pa.array([{"bytes": CONTENTS[number], "path": f"{number}.jpg"} for number in numbers])


def write_parquet(path: Path, images: pa.Array, **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [CLASSES[number % 2] for number in range(len(images))]
    parquet.write_table(pa.table({"image": images, "fashion_style": labels, **columns}), path, row_group_size=5)
    return path


@pytest.mark.parametrize("images", [pa.array(CONTENTS), structs()], ids=["bytes", "struct"])
def test_parquet_images_become_files_byte_for_byte(images, tmp_path: Path, run):
    write_parquet(tmp_path / "rows/data/part.parquet", images, profile_id=[f"q{number}" for number in range(12)])
    out = run(tmp_path / "rows").folder.root
    assert files_of(out / "photos") == {f"q{number}.jpg": content for number, content in enumerate(CONTENTS)}


def test_parquet_may_name_files_inside_the_source(class_folders, tmp_path: Path, run):
    names = [f"{CLASSES[number % 2]}/{number}.jpg" for number in range(12)]
    file = write_parquet(class_folders / "rows.parquet", pa.array(names))
    assert run(file).record["counts"]["kept"] == 12
    write_parquet(file, pa.array([*names[:11], "../../secret.jpg"]))
    with pytest.raises(UserError, match=r"rows.parquet, row 12, column image: .* leaves the folder"):
        run(file, out="other")


@pytest.mark.parametrize("absolute", [True, False])
def test_structs_with_a_path_only(tmp_path: Path, absolute: bool) -> None:
    root, inside = tmp_path / "source", write(tmp_path / "source/raw/여.png", b"inside")
    outside, secret = write(tmp_path / "elsewhere/b.png", b"outside"), write(tmp_path / "secret.png", b"secret")

    def name(path: Path, base: Path) -> str:
        return str(path if absolute else os.path.relpath(path, base))

    def content(path: str, **options) -> bytes:
        write_parquet(
            root / "train.parquet", pa.array([{"bytes": None, "path": path}, {"bytes": b"x", "path": "gone"}])
        )
        photos = read(root, kind="parquet", **options).photos
        assert photos[1].content() == b"x"
        return photos[0].content()

    assert content(name(inside, root)) == b"inside"
    assert content(name(outside, outside.parent), image_root=outside.parent) == b"outside"
    for path in (name(outside, outside.parent), name(secret, root), "../secret.png", "/etc/passwd"):
        with pytest.raises(UserError, match=r"^train.parquet, row 1 has no bytes, only a path: "):
            content(path)


def test_parquet_files_of_splits_with_class_names(tmp_path: Path, run):
    feature = {"info": {"features": {"label": {"names": ["Chic", "Street"], "_type": "ClassLabel"}}}}
    for split, numbers in (("train", range(6)), ("validation", range(6, 8)), ("test", range(8, 12))):
        table = pa.table({"image": structs(numbers), "label": [number % 2 for number in numbers]})
        table = table.replace_schema_metadata({"huggingface": json.dumps(feature)})
        (tmp_path / "hub").mkdir(exist_ok=True)
        parquet.write_table(table, tmp_path / f"hub/{split}-00000-of-00001.parquet")
    prepared = run(tmp_path / "hub", "columns.label=label")
    assert prepared.record["counts"]["split"] == {"train": 6, "val": 2, "test": 4}
    assert read_rows(prepared.folder.root)[1]["fashion_style"] == "Street"


def test_faults_of_parquet_name_row_or_columns(tmp_path: Path, run):
    file = write_parquet(tmp_path / "rows/part.parquet", pa.array([*CONTENTS[:11], None], pa.binary()))
    with pytest.raises(UserError, match=r"(?s)1 of 12 photos cannot be used.*part.parquet, row 12.*is empty"):
        run(file)
    assert run(file, "on_bad_image=exclude").record["counts"]["kept"] == 11
    with pytest.raises(UserError, match=r"'imago' is no column \(did you mean 'image'\?\).*columns.image=NAME"):
        run(file, "columns.image=imago")
    write_parquet(file, pa.array(CONTENTS[:2]), profile_id=[1.2345678901234567e18] * 2)
    with pytest.raises(UserError, match=r"(?i)'1.2345678901234568e\+18' is a rounded number.*write it again as text"):
        read(file)
    write_parquet(file, pa.array(CONTENTS[:2]), profile_id=["1234567890123456789", "1234567890123456788"])
    assert ids(read(file)) == ["1234567890123456789", "1234567890123456788"]
    write(file, b"no Parquet")
    with pytest.raises(UserError, match=r"part.parquet: is not a readable Parquet file"):
        read(file)


def test_a_datasets_folder_keeps_bytes_class_names_and_splits(tmp_path: Path, run, monkeypatch):
    datasets = pytest.importorskip("datasets")
    image, style = datasets.Image(), datasets.ClassLabel(names=[*CLASSES])
    features = datasets.Features({"photo": image, "style": style, "profile_id": datasets.Value("string")})
    rows = [
        {"photo": {"bytes": content, "path": None}, "style": number % 2 if number else -1, "profile_id": f"h{number}"}
        for number, content in enumerate(CONTENTS)
    ]
    parts = {"train": rows[:6], "validation": rows[6:8], "test": rows[8:]}
    parts = {name: datasets.Dataset.from_list(part, features=features) for name, part in parts.items()}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "hub"))
    options = ("columns.image=photo", "columns.label=style", "leave_out.unlabelled=true")
    prepared = run(tmp_path / "hub", *options)
    out = prepared.folder.root
    assert prepared.record["counts"]["split"] == {"train": 5, "val": 2, "test": 4}
    assert files_of(out / "photos") == {f"h{number}.jpg": content for number, content in enumerate(CONTENTS)}
    assert [row["fashion_style"] for row in read_rows(out)][:2] == ["", "Street"]
    options = (*options, "columns.split=null")
    assert run(tmp_path / "hub", *options, out="drawn").record["counts"]["split"] == {"train": 7, "val": 1, "test": 3}
    write(tmp_path / "hub/test/state.json", b"{")
    with pytest.raises(UserError, match="is no readable `datasets` folder"):
        run(tmp_path / "hub")
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'style_match\[huggingface\]'"):
        run(tmp_path / "hub")
