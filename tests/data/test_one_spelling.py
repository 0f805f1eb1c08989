"""Texts from two places meet in one spelling: ids, files, classes, columns, metadata, splits, audit files."""

import csv
import json
import unicodedata
from pathlib import Path

import pytest

from style_match.curation.forgotten import forgotten_among, hashed
from style_match.curation.rows import PersonNames, drop_lines, drop_rows
from style_match.data.dataset import read_folder
from style_match.data.metadata import parse_line
from style_match.data.records import FORGOTTEN
from style_match.data.schema import Schema
from style_match.data.splits import make_split, split_file
from style_match.labeling.audit import read_human_labels
from style_match.labeling.photos import find_photos
from style_match.serving.where import mask, parse
from style_match.utils.errors import UserError

from .conftest import faults, write_csv, write_photo


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def couples(root: Path, *, ids=str, images=str, files=str, partners=str) -> Path:
    rows = [(f"{kind}{number}", f"사진/{kind}{number}.png") for number in range(8) for kind in ("여é", "남")]
    for _, image in rows:
        write_photo(root / files(image))
    write_csv(root / "profiles.csv", ("profile_id", "image"), [(ids(one), images(image)) for one, image in rows])
    pairs = [(partners(f"여é{number}"), partners(f"남{number}")) for number in range(8)]
    write_csv(root / "couples.csv", ("female_id", "male_id"), pairs)
    return root


FORMS = [str, nfd, lambda text: f" \ufeff{text}\u200b"]


@pytest.mark.parametrize("one", FORMS)
@pytest.mark.parametrize("other", FORMS)
def test_ids_and_files(tmp_path: Path, one, other) -> None:
    files = nfd if other is nfd else str
    folder = read_folder(couples(tmp_path, ids=one, partners=other, images=one, files=files), task="couple")
    assert folder.profile_ids[:2] == ("여é0", "남0") and folder.couples[0].item_id == "여é0\t남0"
    assert folder.photos[0].path == tmp_path / files("사진/여é0.png")
    assert folder.photos[0].image == "사진/여é0.png"


def test_two_files_that_look_alike_are_named(tmp_path: Path) -> None:
    root = couples(tmp_path)
    write_photo(root / "사진" / nfd("남0.png"))
    (found,) = faults(root)
    assert "is the name of several files that look alike" in found and "rename or remove one" in found
    with pytest.raises(UserError, match="have names that look alike; rename or remove one"):
        find_photos(root / "사진", None, skip=[], max_faults_shown=20)
    (root / "사진" / nfd("남0.png")).unlink()
    read_folder(root, task="couple")


@pytest.mark.parametrize("all_of_them", [False, True])
def test_capitals_are_named_for_one_file_and_for_all(tmp_path: Path, all_of_them: bool) -> None:
    root = couples(tmp_path)
    for path in sorted((root / "사진").iterdir())[: None if all_of_them else 1]:
        path.rename(path.with_suffix(".PNG"))
    found = faults(root)
    assert len(found) == (16 if all_of_them else 1)
    assert all("does not exist; '사진/" in each and ".PNG' does" in each for each in found)


def test_folders_and_ids_in_other_capitals_are_named(tmp_path: Path) -> None:
    root = couples(tmp_path, images=lambda image: image.replace("사진", "photos"))
    (root / "사진").rename(root / "Photos")
    assert faults(root)[0].endswith("'photos/여é0.png' does not exist; 'Photos/여é0.png' does")
    found = faults(couples(tmp_path, ids=str.upper))[0]
    assert "no profile '여é0' in profiles.csv" in found and "'여É0'" in found


def test_classes_are_one_class(tmp_path: Path) -> None:
    names = ("캐주얼", "스트릿", "댄디")
    rows = [(f"p{k}{i}", f"{k}{i}.png", nfd(name) if i % 2 else name) for k, name in enumerate(names) for i in range(4)]
    for _, image, _ in rows:
        write_photo(tmp_path / image)
    write_csv(tmp_path / "profiles.csv", ("profile_id", "image", nfd("스타일")), rows)
    (tmp_path / "classes.json").write_text(json.dumps({"column": nfd("스타일"), "classes": [*map(nfd, names)]}))
    folder = read_folder(tmp_path, task="style", label_column="스타일")
    assert folder.classes == names and set(folder.labels.values()) == set(names)


def test_metadata(tmp_path: Path) -> None:
    root = couples(tmp_path, images=nfd)
    line = {nfd("image"): nfd("사진/여é0.png"), nfd("색"): [nfd("검정")], "n": 1}
    (root / "metadata.jsonl").write_text(json.dumps(line), encoding="utf-8")
    assert read_folder(root, task="couple").metadata == {"사진/여é0.png": {"색": ["검정"], "n": 1}}
    twice = json.dumps({"image": "a", "색": 1})[:-1] + f', "{nfd("색")}": 2}}'
    assert "occurs twice" in str(parse_line(twice))


def test_a_split_that_was_stored_before_stays(tmp_path: Path) -> None:
    options = {"seed": 0, "fractions": (0.5, 0.25, 0.25)}
    folder = read_folder(couples(tmp_path, ids=nfd, partners=nfd), task="couple")
    new = make_split(folder, **options)
    path = split_file(folder, None, *options.values())
    text = path.read_text(encoding="utf-8").replace("test", "?").replace("train", "test").replace("?", "train")
    path.write_text(nfd(text), encoding="utf-8")  # as a version wrote it that kept the ids of the tables
    moved = {"train": "test", "test": "train", "val": "val"}
    assert make_split(folder, **options).name_of == {item: moved[split] for item, split in new.name_of.items()}
    assert unicodedata.is_normalized("NFD", path.read_text(encoding="utf-8"))


NAMES = [{"이름": "김민지", "Stadt": "K\u00f6ln"}, {"이름": "이서연", "Stadt": "Bonn"}, {"이름": "", "Stadt": "bonn"}]


def test_where() -> None:
    for where in (
        nfd("이름 == '김민지'"),
        "이름 in [' 김민지\u200b']",
        nfd("Stadt == 'K\u00f6ln'"),
        "not Stadt in ['Bonn', 'bonn']",
    ):
        assert mask(parse(where), NAMES).tolist() == [True, False, False]
    assert mask(parse("`\ufeffStadt` != 'Bonn'"), NAMES).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("where", "said", "instead"),
    [
        ("Stadt == 'k\u00f6ln'", "no cell of Stadt is 'k\u00f6ln', but 'K\u00f6ln' is there", "Stadt == 'K\u00f6ln'"),
        ("not Stadt in ['BONN']", "write 'Bonn'", "not Stadt in ['Bonn']"),
        ("STADT == 'Bonn'", "no column 'STADT'. Did you mean Stadt?", "Stadt == 'Bonn'"),
    ],
)
def test_where_in_other_capitals_is_an_error(where: str, said: str, instead: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        mask(parse(where), NAMES)
    mask(parse(instead), NAMES)


def schema(*classes: str) -> dict:
    attributes = {nfd("스타일"): {"description": "d", "classes": dict.fromkeys(classes, "e")}}
    texts = {"instructions": "x", "text": "{attributes}", "untold": "u"}
    return {"name": "s", "task": "style", "model": "m", "label": "스타일", "attributes": attributes, **texts}


def test_schema_and_answers() -> None:
    made = Schema(schema(nfd("댄디"), "캐주얼"), file="s.yaml")
    assert made.class_names("스타일") == ("댄디", "캐주얼")
    assert made.parse(json.dumps({"스타일": nfd("캐주얼")})) == {"스타일": "캐주얼"}
    with pytest.raises(UserError, match="classes 댄디 and 댄디 differ in writing only"):
        Schema(schema(nfd("댄디"), "댄디"), file="s.yaml")


def test_audit_files(tmp_path: Path) -> None:
    write_photo(tmp_path / "photos" / nfd("여.png"))
    found = find_photos(tmp_path / "photos", None, skip=[], max_faults_shown=20)
    assert [*found.photos] == ["여.png"]
    write_csv(tmp_path / "human.csv", ("image", nfd("스타일")), [("여.png", nfd("댄디"))])
    made = Schema(schema("댄디", "캐주얼"), file="s.yaml")
    human = read_human_labels(tmp_path / "human.csv", made, found.photos, max_faults_shown=20)
    assert human == {"스타일": {"여.png": "댄디"}}


@pytest.mark.parametrize("form", [str, nfd])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_of_a_forgotten_person_are_found(tmp_path: Path, form, separator: str) -> None:
    names = PersonNames(["여é0"], ["사진/여é0.png"])
    path = tmp_path / "couples.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([("female_id", "male_id"), (form("여é0"), "m"), ("f", "m")])
    assert drop_rows(path, names.in_row, dry_run=False) == 1 and "여" not in path.read_text(encoding="utf-8")
    for key in ("image", "file_name"):
        jsonl = tmp_path / "metadata.jsonl"
        jsonl.write_text(json.dumps({key: form("사진/여é0.png")}) + "\n", encoding="utf-8")
        assert drop_lines(jsonl, names.in_metadata, dry_run=True) == 1
    page = tmp_path / "page.html"
    for text in (form("<p>여é0</p>"), json.dumps(form("여é0"))):
        page.write_text(text, encoding="utf-8")
        assert names.in_file(page)


def test_who_was_forgotten_in_the_other_form_stays_so(tmp_path: Path) -> None:
    entry = {"profiles": [hashed(nfd("여é0"), b"salt")]}
    (tmp_path / FORGOTTEN).write_text(json.dumps([entry]))
    assert forgotten_among(tmp_path, ["여é0", "여é1"]) == {"여é0"}


def test_no_message_is_longer_than_its_value_may_be(tmp_path: Path) -> None:
    root = couples(tmp_path, images=lambda image: image.replace("여é0", "x" * 5000))
    assert all(len(each) < 400 for each in faults(root))
