"""Sources without tables: class folders, Parquet, `datasets` folders; and which of them a folder is."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from style_match.curation.sources import detect
from style_match.utils.errors import UserError

from .sources import CLASSES, files_of, jpeg, photo, read_rows, write

CONTENTS = [jpeg(photo(number)) for number in range(12)]


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    root = tmp_path / "classes"
    for number, content in enumerate(CONTENTS):
        write(root / CLASSES[number % 2] / f"{number}.jpg", content)
    return root


def write_parquet(path: Path, images: pa.Array, numbers=range(12), **columns) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = [CLASSES[number % 2] for number in numbers]
    parquet.write_table(pa.table({"image": images, "fashion_style": labels, **columns}), path, row_group_size=5)
    return path


def structs(numbers=range(12)) -> pa.Array:
    return pa.array([{"bytes": CONTENTS[number], "path": f"{number}.jpg"} for number in numbers])


def test_a_folder_for_each_class(class_folders, run):
    prepared = run(class_folders)
    assert prepared.record["identity"]["kind"] == "classes"
    assert {row["profile_id"]: row["fashion_style"] for row in read_rows(prepared.folder.root)}["3"] == "Street"


def test_class_folders_in_folders_of_splits_keep_them(tmp_path: Path, run):
    for number, content in enumerate(CONTENTS):
        split = ("train", "train", "validation", "test")[number // 3]
        write(tmp_path / "divided" / split / CLASSES[number % 2] / f"{number}.jpg", content)
    assert run(tmp_path / "divided").record["counts"]["split"] == {"train": 6, "val": 3, "test": 3}


def test_one_stem_in_two_classes_needs_paths_for_ids(class_folders, run):
    write(class_folders / "Street/0.jpg", jpeg(photo(70)))
    with pytest.raises(UserError, match=r"Street/0.jpg and Chic/0.jpg have one id, '0'.*ids=path"):
        run(class_folders)
    assert run(class_folders, "ids=path").record["counts"]["profiles"] == 13


@pytest.mark.parametrize("images", [pa.array(CONTENTS), structs()], ids=["bytes", "the hub's struct"])
def test_parquet_rows_become_files_byte_for_byte(images, tmp_path: Path, run):
    write_parquet(tmp_path / "rows/data/part.parquet", images, profile_id=[f"q{number}" for number in range(12)])
    out = run(tmp_path / "rows").folder.root
    assert files_of(out / "photos") == {f"q{number}.jpg": content for number, content in enumerate(CONTENTS)}


def test_parquet_may_name_files_and_not_reach_outside(class_folders, tmp_path: Path, run):
    names = [f"{CLASSES[number % 2]}/{number}.jpg" for number in range(12)]
    file = write_parquet(class_folders / "rows.parquet", pa.array(names))
    assert run(file).record["counts"]["kept"] == 12
    write_parquet(class_folders / "rows.parquet", pa.array([*names[:11], "../../secret.jpg"]))
    with pytest.raises(UserError, match=r"rows.parquet, row 12, column image: .* leaves the folder"):
        run(file, out="other")


def test_splits_of_the_hubs_parquet_files_and_their_class_names_are_kept(tmp_path: Path, run):
    feature = {"info": {"features": {"label": {"names": ["Chic", "Street"], "_type": "ClassLabel"}}}}
    for split, numbers in (("train", range(6)), ("validation", range(6, 8)), ("test", range(8, 12))):
        table = pa.table({"image": structs(numbers), "label": [number % 2 for number in numbers]})
        table = table.replace_schema_metadata({"huggingface": json.dumps(feature)})
        (tmp_path / "hub").mkdir(exist_ok=True)
        parquet.write_table(table, tmp_path / f"hub/{split}-00000-of-00001.parquet")
    prepared = run(tmp_path / "hub", "columns.label=label")
    assert prepared.record["counts"]["split"] == {"train": 6, "val": 2, "test": 4}
    assert read_rows(prepared.folder.root)[1]["fashion_style"] == "Street"


def test_a_row_without_a_photo_is_named(tmp_path: Path, run):
    images = pa.array([*CONTENTS[:11], None], pa.binary())
    write_parquet(tmp_path / "rows/part.parquet", images)
    with pytest.raises(UserError, match=r"(?s)1 of 12 photos cannot be used.*part.parquet, row 12.*is empty"):
        run(tmp_path / "rows")
    assert run(tmp_path / "rows", "on_bad_image=exclude").record["counts"]["kept"] == 11


def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, run):
    write_parquet(tmp_path / "rows/part.parquet", structs())
    with pytest.raises(UserError, match=r"'imago' is no column \(did you mean 'image'\?\).*columns.image=NAME"):
        run(tmp_path / "rows", "columns.image=imago")


@pytest.fixture
def hub_folder(tmp_path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "style": datasets.ClassLabel(names=[*CLASSES]),
            "profile_id": datasets.Value("string"),
        }
    )

    def part(numbers):
        rows = [{"photo": {"bytes": CONTENTS[n], "path": None}, "style": n % 2, "profile_id": f"h{n}"} for n in numbers]
        return datasets.Dataset.from_list(rows, features=features)

    parts = {"train": part(range(6)), "validation": part(range(6, 8)), "test": part(range(8, 12))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_datasets_folder_keeps_bytes_class_names_and_splits(hub_folder, run):
    prepared = run(hub_folder, "columns.image=photo", "columns.label=style")
    out = prepared.folder.root
    assert prepared.record["counts"]["split"] == {"train": 6, "val": 2, "test": 4}
    assert files_of(out / "photos") == {f"h{number}.jpg": content for number, content in enumerate(CONTENTS)}
    assert read_rows(out)[1]["fashion_style"] == "Street"


def test_without_the_datasets_library_its_extra_is_named(hub_folder, run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(UserError, match=r"pip install 'style_match\[huggingface\]'"):
        run(hub_folder)


def test_what_may_be_read_in_two_ways_is_asked_for(class_folders, tmp_path: Path):
    assert detect(class_folders) == "classes"
    write_parquet(class_folders / "rows.parquet", structs())
    with pytest.raises(UserError, match=r"may be read in 2 ways\. Say which: kind=classes, kind=parquet"):
        detect(class_folders)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no photos"):
        detect(tmp_path / "empty")
