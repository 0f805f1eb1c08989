"""Faults of a dataset folder by file, row and column, all of them together; tests/integration/mistakes has more."""

import pytest

from .conftest import MakeFolder, faults, message

PROFILES = [("f1", "f1.png"), ("m1", "m1.png"), ("f2", "f2.png"), ("m2", "m2.png")]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (("m1", "f1"), ": the couple 'm1', 'f1' is already in line 2 the other way"),
        (("f2", "f1"), ", column male_id: profile 'f1' is in female_id in line 2; a profile keeps one side"),
        (("f2", ""), ", column male_id: the cell is missing; fill it in"),
        (("f2", "m2"), ": profiles 'f2' and 'm2' are one person, user_id 'u'; remove or correct the row"),
    ],
)
def test_couples(make_folder: MakeFolder, row: tuple[str, str], fault: str) -> None:
    profiles = [(one, image, "u" if "2" in one else "") for one, image in PROFILES]
    header = ("profile_id", "image", "user_id")
    (found,) = faults(make_folder(profiles=profiles, header=header, couples=[("f1", "m1"), row]))
    assert found.startswith(f"couples.csv, line 3{fault}")


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        (("a", "./a.png", "x"), ", line 3: profile 'a' already has image './a.png' in line 2; remove one"),
        (("", "b.png", "y"), ", line 3, column profile_id: the cell is missing"),
        (("b", "b.png", " "), ", line 3, column fashion_style: the cell is missing"),
        (
            ("a", "b.png", "y"),
            ", line 3, column fashion_style: profile 'a' has 'y' here and 'x' in line 2; if photos of one person "
            "differ, give each its own profile_id and the person's id as user_id",
        ),
        (("b", "b.png", "X."), ", column fashion_style: classes 'X.' and 'x' differ only in spelling"),
        (("b\tc", "b.png", "y"), ", line 3, column profile_id: 'b\\tc' has a control character"),
    ],
)
def test_profiles(make_folder: MakeFolder, row: tuple[str, ...], fault: str) -> None:
    header = ("profile_id", "image", "fashion_style")
    found = faults(make_folder(header=header, profiles=[("a", "a.png", "x"), row]), "style")
    assert any(each.startswith(f"profiles.csv{fault}") for each in found), found


def test_photos_of_one_profile_agree(make_folder: MakeFolder) -> None:
    header = ("profile_id", "image", "gender", "user_id", "duplicate_group", "shot")
    rows = [("f1", "a.png", "female", "u1", "d1", "x"), ("f1", "b.png", "male", "u2", "d2", "y")]
    assert faults(make_folder(header=header, profiles=rows), "profile") == [
        "profiles.csv, line 3, column gender: profile 'f1' has 'male' here and 'female' in line 2; make them agree",
        "profiles.csv, line 3, column user_id: profile 'f1' has 'u2' here and 'u1' in line 2; make them agree",
        "profiles.csv, line 3, column duplicate_group: profile 'f1' has 'd2' here and 'd1' in line 2; make them agree",
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("[1]", "line 2: is not a JSON object"),
        ('{"caption": "x"}', 'line 2: has no "image": "FILE"'),
        ('{"image": 3}', 'line 2: has no "image": "FILE"'),
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


def test_all_faults_come_together(make_folder: MakeFolder) -> None:
    root = make_folder(
        profiles="profile_id,image\nf1,f1.png\nf1,f1.png\nm1,../m1.png\nm2,gone.png\n,x.png\n",
        couples="female_id,male_id\nf1,f1\nf1,m9\nf1\n",
        metadata="{\n",
    )
    (root / "gone.png").unlink()
    found = faults(root)
    places = [
        *(
            f"profiles.csv, line {place}"
            for place in ("3", "6, column profile_id", "4, column image", "5, column image")
        ),
        *(f"couples.csv, line {place}" for place in ("2", "3, column male_id", "4, column male_id")),
        "metadata.jsonl, line 1",
    ]
    assert [each.split(":")[0] for each in found] == places

    root = make_folder(profiles="id,image\nf1,f1.png\n", couples=[("f1", "m1"), ("f2", "f2")], metadata="nonsense\n")
    places = ["profiles.csv", "couples.csv, line 3", "metadata.jsonl, line 1"]
    assert [each.split(":")[0] for each in faults(root)] == places, "an unreadable table does not hide other faults"


def test_many_faults_are_counted(make_folder: MakeFolder) -> None:
    root = make_folder(profiles=PROFILES, couples=[("x", f"y{number}") for number in range(30)])
    found = faults(root)
    assert len(found) == 21
    assert found[-1] == "... and 40 more"
    assert message(root).startswith("60 faults in the dataset folder")
    assert len(faults(root, max_faults_shown=100)) == 60
