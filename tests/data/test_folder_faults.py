"""What a dataset folder should not be: each mistake by file, row and column, with its remedy, all of them together."""

from pathlib import Path

import pytest

from style_match.data.dataset import read_folder

from .conftest import MakeFolder
from .found_faults import faults, message

STYLE_HEADER = ("profile_id", "image", "fashion_style")
PROFILES = [("f1", "f1.png"), ("m1", "m1.png"), ("f2", "f2.png"), ("m2", "m2.png")]


@pytest.mark.parametrize(
    ("couples", "fault"),
    [
        (
            [("f1", "m1"), ("f9", "m2")],
            "couples.csv, line 3, column female_id: no profile 'f9' in profiles.csv; add it",
        ),
        ([("f1", "f1")], "couples.csv, line 2: profile 'f1' is coupled with itself; remove or correct the row"),
        (
            [("f1", "m1"), ("f1", "m1")],
            "couples.csv, line 3: the couple 'f1', 'm1' is already in line 2; remove one",
        ),
        (
            [("f1", "m1"), ("m1", "f1")],
            "couples.csv, line 3: the couple 'm1', 'f1' is already in line 2 the other way",
        ),
        (
            [("f1", "m1"), ("f2", "f1")],
            "couples.csv, line 3, column male_id: profile 'f1' is in female_id in line 2; a profile keeps one side",
        ),
        ([("f1", "m1"), ("f2", "")], "couples.csv, line 3, column male_id: the cell is missing; fill it in"),
    ],
)
def test_couples(make_folder: MakeFolder, couples: list[tuple[str, str]], fault: str) -> None:
    found = faults(make_folder(profiles=PROFILES, couples=couples))
    assert len(found) == 1
    assert found[0].startswith(fault)


def test_a_couple_of_one_user_is_a_fault(make_folder: MakeFolder) -> None:
    users = [("f1", "f1.png", "u1"), ("m1", "m1.png", "u1"), ("f2", "f2.png", ""), ("m2", "m2.png", "")]
    header = ("profile_id", "image", "user_id")
    found = faults(make_folder(profiles=users, header=header, couples=[("f2", "m2"), ("f1", "m1")]))
    (fault,) = found
    assert fault.startswith(
        "couples.csv, line 3: profiles 'f1' and 'm1' are one person, user_id 'u1'; remove or correct the row"
    )


def test_columns_of_couples(make_folder: MakeFolder) -> None:
    root = make_folder(profiles=PROFILES, couples=[("f1", "m1")], sides=("female_id", "men"))
    assert faults(root) == ["couples.csv: no column 'male_id'; the columns are female_id, men"]
    root = make_folder(profiles=PROFILES, couples="female_id,male_id,left_id,right_id\nf1,m1,f1,m1\n")
    assert faults(root) == ["couples.csv: has female_id, male_id and left_id, right_id; keep one of the two"]


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (
            [("a", "a.png", "x"), ("a", "a.png", "x"), ("b", "b.png", "y")],
            "profiles.csv, line 3: profile 'a' already has image 'a.png' in line 2; remove one",
        ),
        (
            [("a", "a.png", "x"), ("a", "./a.png", "x"), ("b", "b.png", "y")],
            "profiles.csv, line 3: profile 'a' already has image './a.png' in line 2; remove one",
        ),
        ([("a", "a.png", "x"), ("", "b.png", "y")], "profiles.csv, line 3, column profile_id: the cell is missing"),
        ([("a", "a.png", "x"), ("b", "", "y")], "profiles.csv, line 3, column image: the cell is missing"),
        (
            [("a", "a.png", "x"), ("b", "b.png", " "), ("c", "c.png", "y")],
            "profiles.csv, line 3, column fashion_style: the cell is missing",
        ),
        (
            [("a", "a.png", "x"), ("a", "b.png", "y")],
            "profiles.csv, line 3, column fashion_style: profile 'a' has 'y' here and 'x' in line 2; if photos of one "
            "person differ, give each its own profile_id and the person's id as user_id",
        ),
        (
            [("a", "a.png", "x"), ("b", "b.png", "x")],
            "profiles.csv, column fashion_style: every profile has the class 'x'; styles need at least two classes",
        ),
        (
            [("a", "a.png", "Casual_Basic"), ("b", "b.png", "casual basic")],
            "profiles.csv, column fashion_style: classes 'Casual_Basic' and 'casual basic' differ only in spelling",
        ),
        (
            [("a", "a.png", "x"), ("b\tc", "b.png", "y")],
            "profiles.csv, line 3, column profile_id: 'b\\tc' has a control character",
        ),
    ],
)
def test_profiles(make_folder: MakeFolder, rows: list[tuple[str, ...]], fault: str) -> None:
    found = faults(make_folder(header=STYLE_HEADER, profiles=rows), "style")
    assert any(each.startswith(fault) for each in found), found


def test_photos_of_one_profile_agree(make_folder: MakeFolder) -> None:
    root = make_folder(
        header=("profile_id", "image", "gender", "user_id", "shot"),
        profiles=[
            ("f1", "a.png", "female", "u1", "x"),
            ("f1", "b.png", "male", "u2", "y"),
            ("m1", "c.png", "", "", ""),
        ],
        couples=[("f1", "m1")],
    )
    assert faults(root) == [
        "profiles.csv, line 3, column gender: profile 'f1' has 'male' here and 'female' in line 2; make them agree",
        "profiles.csv, line 3, column user_id: profile 'f1' has 'u2' here and 'u1' in line 2; make them agree",
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"image": "f1.png"', "line 2: is broken JSON"),
        ("[1]", "line 2: is not a JSON object"),
        ('{"caption": "x"}', 'line 2: has no "image": "FILE"'),
        ('{"image": 3}', 'line 2: has no "image": "FILE"'),
        ('{"image": "f9.png"}', "line 2: no photo 'f9.png' in profiles.csv; correct the name or remove the line"),
        ('{"image": "m1.png"}', "line 2: image 'm1.png' already has metadata in line 1; remove one"),
        ('{"image": "./m1.png"}', "line 2: image 'm1.png' already has metadata in line 1; remove one"),
        ('{"image": "f1.png", "a": 1, "a": 2}', "line 2: is broken JSON (key 'a' occurs twice)"),
        ('{"image": "f1.png", "a": NaN}', "line 2: is broken JSON (NaN is not JSON; use null)"),
        ("[" * 100_000, "line 2: is nested too deeply"),
    ],
)
def test_metadata(make_folder: MakeFolder, line: str, fault: str) -> None:
    root = make_folder(profiles=PROFILES, couples=[("f1", "m1")], metadata='{"image": "m1.png"}\r\n' + line + "\n\n")
    found = faults(root)
    assert len(found) == 1
    assert found[0].startswith(f"metadata.jsonl, {fault}")


def test_metadata_in_another_encoding(make_folder: MakeFolder) -> None:
    root = make_folder(profiles=PROFILES, couples=[("f1", "m1")])
    (root / "metadata.jsonl").write_bytes('{"image": "f1.png", "caption": "정장"}'.encode("cp949"))
    assert faults(root)[0].startswith("metadata.jsonl, line 1: byte 0xc1 is not UTF-8")
    (root / "metadata.jsonl").write_bytes('\ufeff{"image": "f1.png", "caption": "정장"}'.encode())
    assert read_folder(root, task="couple").metadata == {"f1.png": {"caption": "정장"}}


def test_missing_files(tmp_path: Path) -> None:
    assert faults(tmp_path) == [
        "neither profiles.csv nor profiles.parquet is there; write one with profile_id, image",
        "neither couples.csv nor couples.parquet is there; write one with female_id, male_id",
    ]


def test_all_faults_come_together(make_folder: MakeFolder) -> None:
    root = make_folder(
        profiles="profile_id,image\nf1,f1.png\nf1,f1.png\nm1,../m1.png\nm2,gone.png\n,x.png\n",
        couples="female_id,male_id\nf1,f1\nf1,m9\nf1\n",
        metadata="{\n",
    )
    (root / "gone.png").unlink()
    found = faults(root)
    assert [each.split(":")[0] for each in found] == [
        "profiles.csv, line 3",
        "profiles.csv, line 6, column profile_id",
        "profiles.csv, line 4, column image",
        "profiles.csv, line 5, column image",
        "couples.csv, line 2",
        "couples.csv, line 3, column male_id",
        "couples.csv, line 4, column male_id",
        "metadata.jsonl, line 1",
    ]


def test_an_unreadable_profiles_table_does_not_hide_other_faults(make_folder: MakeFolder) -> None:
    root = make_folder(profiles="id,image\nf1,f1.png\n", couples=[("f1", "m1"), ("f2", "f2")], metadata="nonsense\n")
    assert [each.split(":")[0] for each in faults(root)] == [
        "profiles.csv",
        "couples.csv, line 3",
        "metadata.jsonl, line 1",
    ]


def test_many_faults_are_counted(make_folder: MakeFolder) -> None:
    root = make_folder(profiles=PROFILES, couples=[("x", f"y{number}") for number in range(30)])
    found = faults(root)
    assert len(found) == 21
    assert found[-1] == "... and 40 more"
    assert message(root).startswith("60 faults in the dataset folder")
    assert len(faults(root, max_faults_shown=100)) == 60
