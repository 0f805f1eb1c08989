"""The user's own split column: it wins, and it is checked."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from style_match.data.dataset import DatasetFolder, read_folder
from style_match.data.fingerprints import Fingerprints
from style_match.data.photos import check_photos
from style_match.data.splits import make_split
from style_match.utils.errors import UserError

from .conftest import MakeFolder, write_csv
from .found_faults import faults
from .memory_folder import FRACTIONS, NAMES, singles


class TestReadFolder:
    SIDES = ("female_id", "male_id", "split")

    def root(self, make_folder: MakeFolder, *couples: Sequence[str], columns: Sequence[str] = ()) -> Path:
        ids = sorted({profile_id for couple in couples for profile_id in couple[:2]})
        cells = [(profile_id, f"{profile_id}.png", *columns) for profile_id in ids]
        return make_folder(profiles=cells, couples=couples, sides=self.SIDES)

    def test_sound(self, make_folder: MakeFolder) -> None:
        root = self.root(make_folder, ("f1", "m1", "train"), ("f2", "m2", "val"), ("f3", "m3", "test"))
        folder = read_folder(root, task="couple")
        assert folder.given_splits == {"f1\tm1": "train", "f2\tm2": "val", "f3\tm3": "test"}
        assert [couple.split for couple in folder.couples] == ["train", "val", "test"]

    @pytest.mark.parametrize(
        ("words", "fault"),
        [
            (
                ("train", "Valid", "test"),
                ", line 3, column split: 'Valid' is none of train, val, test (did you mean 'val'",
            ),
            (("train", "test"), ", column split: no row is in split 'val'; each split needs rows"),
            (("train", "", "test"), ", line 3, column split: the cell is missing but other rows name a split"),
        ],
    )
    def test_faults(self, make_folder: MakeFolder, words: Sequence[str], fault: str) -> None:
        rows = [(f"f{number}", f"m{number}", word) for number, word in enumerate(words)]
        (found,) = faults(self.root(make_folder, *rows))
        assert found.startswith(f"couples.csv{fault}")

    def test_an_empty_column_gives_none(self, make_folder: MakeFolder) -> None:
        assert read_folder(self.root(make_folder, ("f1", "m1", "")), task="couple").given_splits == {}

    def test_a_couple_in_two_splits(self, make_folder: MakeFolder) -> None:
        rows = [("f1", "m1", "train"), ("f2", "m2", "val"), ("f3", "m3", "test"), ("m1", "f1", "test")]
        assert faults(self.root(make_folder, *rows)) == [
            "couples.csv, line 5: the couple 'm1', 'f1' is already in line 2 the other way round, "
            "in split train there and test here; remove one"
        ]

    def test_splits_of_profiles_divide_couples_too(self, make_folder: MakeFolder) -> None:
        splits = {"1": "train", "2": "val", "3": "test"}
        profiles = [(f"{side}{number}", f"{side}{number}.png", splits[number]) for number in splits for side in "fm"]
        header = ("profile_id", "image", "split")
        couples = [(f"f{number}", f"m{number}") for number in splits]
        root = make_folder(header=header, profiles=profiles, couples=couples)
        folder = read_folder(root, task="couple")
        assert list(folder.given_splits.values()) == ["train", "val", "test"]
        write_csv(root / "couples.csv", ("female_id", "male_id"), [*couples, ("f1", "m3")])
        assert faults(root) == [
            "couples.csv, line 5: profiles.csv put this couple and its profiles in splits test and train; choose one"
        ]
        write_csv(root / "couples.csv", self.SIDES, [("f1", "m1", "train"), ("f2", "m2", "test"), ("f3", "m3", "val")])
        assert len(faults(root)) == 2


class TestMakeSplit:
    SIDES = ("female_id", "male_id", "split")

    def folder(self, make_folder: MakeFolder, *splits: str) -> DatasetFolder:
        ids = [f"{side}{number}" for number in range(len(splits)) for side in "fm"]
        root = make_folder(
            profiles=[(each, f"{each}.png") for each in ids],
            couples=[(*pair, name) for pair, name in zip(singles(len(splits)), splits, strict=True)],
            sides=self.SIDES,
        )
        return read_folder(root, task="couple")

    def test_it_wins(self, make_folder: MakeFolder) -> None:
        names = ("train", "test", "val", "test", "val", "val")
        folder = self.folder(make_folder, *names)
        split = make_split(folder, seed=3, fractions=FRACTIONS)
        assert tuple(split.name_of.values()) == names
        assert split.path == folder.root / "couples.csv"
        assert split.notes == ()
        assert not (folder.root / "splits").exists()

    def test_one_test_couple_is_too_few(self, make_folder: MakeFolder) -> None:
        with pytest.raises(UserError, match="3 couples give train/val/test 1/1/1"):
            make_split(self.folder(make_folder, "train", "val", "test"), seed=0, fractions=FRACTIONS)

    def test_left_out_profiles_may_empty_it(self, make_folder: MakeFolder) -> None:
        folder = self.folder(make_folder, "train", "val", "test", "test").without({"f1": "bad"})
        with pytest.raises(UserError, match="give train/val/test 1/0/2"):
            make_split(folder, seed=0, fractions=FRACTIONS)

    def test_a_person_in_two_splits(self, make_folder: MakeFolder) -> None:
        root = make_folder(
            profiles=[(each, f"{each}.png") for pair in (*singles(3), ("m4",)) for each in pair],
            couples=[("f0", "m0", "train"), ("f1", "m1", "val"), ("f2", "m2", "test"), ("f0", "m4", "test")],
            sides=self.SIDES,
        )
        with pytest.raises(UserError) as caught:
            make_split(read_folder(root, task="couple"), seed=0, fractions=FRACTIONS)
        assert str(caught.value) == (
            "The split column of couples.csv puts connected people into two splits; put connected people into one "
            "split:\n  profile f0 connects f0 + m0 (train) and f0 + m4 (test)"
        )

    def test_a_user_in_two_splits(self, make_folder: MakeFolder) -> None:
        rows = [("a", "x", "u1", "train"), ("b", "y", "u2", "val"), ("c", "x", "u1", "test")]
        root = make_folder(
            header=("profile_id", "image", "fashion_style", "user_id", "split"),
            profiles=[(one, f"{one}.png", *cells) for one, *cells in rows],
        )
        with pytest.raises(UserError, match=r"of profiles\.csv .*\n  user_id u1 connects a \(train\) and c \(test\)"):
            make_split(read_folder(root, task="style"), seed=0, fractions=FRACTIONS)

    def test_one_photo_in_two_splits(self, make_folder: MakeFolder) -> None:
        folder = self.folder(make_folder, "train", "val", "test", "test")
        (folder.root / "f2.png").write_bytes((folder.root / "f0.png").read_bytes())
        folder = check_photos(folder, Fingerprints(None), max_source_pixels=100, on_bad_image="error", num_workers=0)
        with pytest.raises(UserError) as caught:
            make_split(folder, seed=0, fractions=FRACTIONS)
        assert str(caught.value) == (
            "The split column of couples.csv puts connected people into two splits; put connected people into one "
            "split:\n"
            "  the same photo (f0.png, f2.png) connects f0 + m0 (train) and f2 + m2 (test)"
        )

    def test_styles(self, make_folder: MakeFolder) -> None:
        header = ("profile_id", "image", "fashion_style", "split")
        rows = [(f"p{i}", f"{i}.png", "xy"[i % 2], NAMES[min(i, 2)]) for i in range(4)]
        root = make_folder(header=header, profiles=rows)
        split = make_split(read_folder(root, task="style"), seed=0, fractions=FRACTIONS)
        assert split.name_of == {"p0": "train", "p1": "val", "p2": "test", "p3": "test"}
        assert split.path == root / "profiles.csv"
        write_csv(root / "profiles.csv", header, [(*row[:3], "train") for row in rows])
        with pytest.raises(UserError, match="no row is in split 'val'"):
            read_folder(root, task="style")
