"""The user's own split column is used as it is, and checked."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from style_match.data.dataset import read_folder
from style_match.data.fingerprints import Fingerprints
from style_match.data.photos import check_photos
from style_match.data.splits import make_split
from style_match.utils.errors import UserError

from .conftest import MakeFolder, faults, write_csv
from .memory_folder import FRACTIONS

SIDES = ("female_id", "male_id", "split")


@pytest.fixture
def root_of(make_folder: MakeFolder):
    """Maker of a folder of these rows of couples."""

    def make(*couples: Sequence[str]) -> Path:
        ids = dict.fromkeys(profile_id for couple in couples for profile_id in couple[:2])
        return make_folder(profiles=[(each, f"{each}.png") for each in ids], couples=couples, sides=SIDES)

    return make


def numbered(*splits: str) -> list[tuple[str, str, str]]:
    """One couple for each of these cells."""
    return [(f"f{number}", f"m{number}", split) for number, split in enumerate(splits)]


def test_couples(root_of) -> None:
    names = ("train", "test", "val", "test", "val", "val")
    root = root_of(*numbered(*names))
    folder = read_folder(root, task="couple")
    assert [couple.split for couple in folder.couples] == list(names)
    split = make_split(folder, seed=3, fractions=FRACTIONS)
    assert tuple(split.name_of.values()) == names
    assert (split.path, split.notes, (root / "splits").exists()) == (root / "couples.csv", (), False)
    assert read_folder(root_of(*numbered("")), task="couple").given_splits == {}, "an empty column"


@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        (numbered("train", "Valid", "test"), ", line 3, column split: 'Valid' is none of train, val, test (did you me"),
        (numbered("train", "test"), ", column split: no row is in split 'val'; each split needs rows"),
        (numbered("train", "", "test"), ", line 3, column split: the cell is missing but other rows name a split"),
        (
            [*numbered("train", "val", "test"), ("m0", "f0", "test")],
            ", line 5: the couple 'm0', 'f0' is already in line 2 the other way round, in split train there and test "
            "here; remove one",
        ),
    ],
)
def test_faults(root_of, rows: Sequence[Sequence[str]], fault: str) -> None:
    (found,) = faults(root_of(*rows))
    assert found.startswith(f"couples.csv{fault}")


def test_splits_of_profiles_divide_couples_too(make_folder: MakeFolder) -> None:
    splits = {"1": "train", "2": "val", "3": "test"}
    profiles = [(f"{side}{number}", f"{side}{number}.png", splits[number]) for number in splits for side in "fm"]
    couples = [(f"f{number}", f"m{number}") for number in splits]
    root = make_folder(header=("profile_id", "image", "split"), profiles=profiles, couples=couples)
    assert list(read_folder(root, task="couple").given_splits.values()) == ["train", "val", "test"]
    write_csv(root / "couples.csv", SIDES[:2], [*couples, ("f1", "m3")])
    assert faults(root) == [
        "couples.csv, line 5: profiles.csv put this couple and its profiles in splits test and train; choose one"
    ]
    write_csv(root / "couples.csv", SIDES, [("f1", "m1", "train"), ("f2", "m2", "test"), ("f3", "m3", "val")])
    assert len(faults(root)) == 2


@pytest.mark.parametrize(
    ("splits", "bad", "counts"),
    [(("train", "val", "test"), {}, "1/1/1"), (("train", "val", "test", "test"), {"f1": "bad"}, "1/0/2")],
)
def test_too_few(root_of, splits: Sequence[str], bad: dict[str, str], counts: str) -> None:
    folder = read_folder(root_of(*numbered(*splits)), task="couple").without(bad)
    with pytest.raises(UserError, match=f"3 couples give train/val/test {counts}"):
        make_split(folder, seed=0, fractions=FRACTIONS)


def test_a_person_in_two_splits(root_of) -> None:
    root = root_of(*numbered("train", "val", "test"), ("f0", "m4", "test"))
    with pytest.raises(UserError) as caught:
        make_split(read_folder(root, task="couple"), seed=0, fractions=FRACTIONS)
    title = (
        "The split column of couples.csv puts connected people into two splits; put connected people into one split:\n"
    )
    assert str(caught.value) == f"{title}  profile f0 connects f0 + m0 (train) and f0 + m4 (test)"
    folder = read_folder(root_of(*numbered("train", "val", "test", "test")), task="couple")
    Image.open(folder.root / "f0.png").save(folder.root / "f2.png", compress_level=0)  # equal pixels, other bytes
    folder = check_photos(folder, Fingerprints(None), max_source_pixels=100, on_bad_image="error", num_workers=0)
    with pytest.raises(UserError) as caught:
        make_split(folder, seed=0, fractions=FRACTIONS)
    copies = "the same photo (f0.png, f2.png) connects f0 + m0 (train) and f2 + m2 (test)"
    assert str(caught.value) == f"{title}  {copies}"


def test_styles(make_folder: MakeFolder) -> None:
    header = ("profile_id", "image", "fashion_style", "user_id", "split")
    users, splits = ("u1", "u2", "u3", "u3"), ("train", "val", "test", "test")
    rows = [(f"p{i}", f"{i}.png", "xy"[i % 2], users[i], splits[i]) for i in range(4)]
    root = make_folder(header=header, profiles=rows)
    split = make_split(read_folder(root, task="style"), seed=0, fractions=FRACTIONS)
    assert split.name_of == {"p0": "train", "p1": "val", "p2": "test", "p3": "test"}
    assert split.path == root / "profiles.csv"
    write_csv(root / "profiles.csv", header, [(*row[:3], "u1", row[4]) for row in rows])
    with pytest.raises(UserError, match=r"of profiles\.csv .*\n  user_id u1 connects p0 \(train\) and p1 \(val\)"):
        make_split(read_folder(root, task="style"), seed=0, fractions=FRACTIONS)
    write_csv(root / "profiles.csv", header, [(*row[:4], "train") for row in rows])
    with pytest.raises(UserError, match="no row is in split 'val'"):
        read_folder(root, task="style")
