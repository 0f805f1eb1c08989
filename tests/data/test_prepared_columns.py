"""What a prepared folder adds: photos left out, groups of copies, classes.json; and profiles read alone."""

import json
from pathlib import Path

import pytest

from style_match.data.dataset import DatasetFolder, read_folder
from style_match.data.fingerprints import Fingerprints
from style_match.data.people import people_of
from style_match.data.photos import check_photos
from style_match.data.splits import make_split
from style_match.utils.errors import UserError

from .conftest import MakeFolder, faults, message
from .memory_folder import FRACTIONS

NONE = Fingerprints(None)


def reasons(folder: DatasetFolder) -> list[tuple[str, str, int, str]]:
    return [(each.kind, each.id, each.row, each.reason) for each in folder.rejected]


class TestLeftOut:
    HEADER = ("profile_id", "image", "left_out")

    def test_a_photo_a_profile_and_its_couples(self, make_folder: MakeFolder) -> None:
        low = "visual_quality is Low"
        rows = [("f1", "", low), ("m1", ""), ("f2", low), ("m2", "")]
        cells = [(one, reason) for one, *reasons in rows for reason in reasons]
        root = make_folder(
            header=self.HEADER,
            profiles=[(one, f"{number}.png", reason) for number, (one, reason) in enumerate(cells, start=1)],
            couples=[("f1", "m1"), ("f2", "m2")],
            metadata=[{"image": "1.png", "style": "a"}, {"image": "2.png", "style": "b"}],
        )
        (root / "4.png").unlink()  # nobody looks for it
        folder = read_folder(root, task="couple")
        assert [photo.image for photo in folder.photos] == ["1.png", "3.png", "5.png"]
        assert folder.profile_ids == ("f1", "m1", "m2")
        assert [couple.item_id for couple in folder.couples] == ["f1\tm1"]
        assert folder.metadata == {"1.png": {"style": "a"}}
        assert folder.columns["f1"] == {}
        assert reasons(folder) == [
            ("photo", "2.png", 3, "visual_quality is Low"),
            ("profile", "f2", 5, "4.png: visual_quality is Low"),
            ("couple", "f2 + m2", 3, "profile f2 is left out"),
        ]

    def test_of_a_row_left_out_only_id_and_image_count(self, make_folder: MakeFolder) -> None:
        header = ("profile_id", "image", "fashion_style", "split", "user_id", "left_out")
        rows = [(f"p{i}", f"{i}.png", "ab"[i % 2], ("train", "val", "test")[i % 3], "", "") for i in range(6)]
        rows += [("p6", "6.png", "", "", "", "no label"), ("p0", "7.png", "c", "", "u", "two people")]
        root = make_folder(header=header, profiles=rows)
        folder = read_folder(root, task="style")
        assert len(folder.profile_ids) == 6 and set(folder.labels.values()) == {"a", "b"}
        assert folder.given_splits["p0"] == "train"
        make_folder(header=header, profiles=[*rows, ("", "8.png", "", "", "", "no label")])
        assert faults(root, "style")[0] == (
            "profiles.csv, line 10, column profile_id: the cell is missing; fill it in or remove the row"
        )

    def test_neither_the_column_nor_a_photo_left_out_is_part_of_the_data(self, make_folder: MakeFolder) -> None:
        rows = [("p", "1.png", ""), ("q", "2.png", ""), ("q", "3.png", "Low")]
        found = set()
        for header, profiles in (
            (self.HEADER, rows),
            (self.HEADER, rows[:2]),
            (self.HEADER[:2], [("p", "1.png"), rows[1][:2]]),
        ):
            folder = read_folder(make_folder(header=header, profiles=profiles), task="profile")
            found.add(folder.fingerprint(NONE))
        assert folder.rejected == () and len(found) == 1

    def test_nothing_left(self, make_folder: MakeFolder) -> None:
        root = make_folder(header=self.HEADER, profiles=[("f", "1.png", "Low"), ("m", "2.png", "Low")])
        assert faults(root, "profile") == [
            "profiles.csv, column left_out: every photo is left out (Low); empty the cells"
        ]
        root = make_folder(
            header=self.HEADER, profiles=[("f", "1.png", "Low"), ("m", "2.png", "")], couples=[("f", "m")]
        )
        assert faults(root) == ["couples.csv: every couple is left out (profile f is left out)"]


class TestDuplicateGroup:
    HEADER = ("profile_id", "image", "duplicate_group")

    def test_copies_count_as_one_person_and_stay_together(self, make_folder: MakeFolder, tmp_path: Path) -> None:
        rows = [(f"{side}{i}", f"{side}{i}.png", "d1" if i in (3, 8) else "") for i in range(20) for side in "fm"]
        root = make_folder(header=self.HEADER, profiles=rows, couples=[(f"f{i}", f"m{i}") for i in range(20)])
        folder = read_folder(root, task="couple")
        people = people_of(folder)
        assert people["f3"] == people["m8"] and len(set(people.values())) == 37
        for seed in range(5):
            split = make_split(folder, seed=seed, fractions=FRACTIONS, store=tmp_path / "splits")
            assert split.name_of["f3\tm3"] == split.name_of["f8\tm8"]

    def test_the_users_own_split_may_not_part_them(self, make_folder: MakeFolder) -> None:
        splits = ("train", "val", "test")
        rows = [(f"p{i}", f"{i}.png", "d1" if i < 2 else "", "ab"[i % 2], splits[i % 3]) for i in range(6)]
        root = make_folder(header=(*self.HEADER, "fashion_style", "split"), profiles=rows)
        with pytest.raises(UserError, match=r"photo \(duplicate_group d1\) connects p0 \(train\) and p1 \(val\)"):
            make_split(read_folder(root, task="style"), seed=0, fractions=FRACTIONS)


class TestClasses:
    @pytest.fixture
    def root(self, make_folder: MakeFolder) -> Path:
        rows = [("p1", "1.png", "Chic"), ("p2", "2.png", "Street"), ("p3", "3.png", "Chic")]
        return make_folder(header=("profile_id", "image", "fashion_style"), profiles=rows)

    def test_numbers_are_places(self, root: Path) -> None:
        plain = read_folder(root, task="style")
        assert plain.classes == ("Chic", "Street")
        content = {"column": "fashion_style", "classes": ["Street", "Chic", "모던"]}
        (root / "classes.json").write_text(json.dumps(content))
        folder = read_folder(root, task="style")
        assert folder.classes == ("Street", "Chic", "모던")
        assert folder.without({"p1": "bad"}).classes == folder.classes
        assert folder.fingerprint(NONE) != plain.fingerprint(NONE)

    def test_of_another_column_or_task(self, root: Path) -> None:
        (root / "classes.json").write_text('{"column": "mood", "classes": ["x", "y"]}')
        assert read_folder(root, task="style").classes == ("Chic", "Street")
        (root / "classes.json").write_text("{")
        assert read_folder(root, task="profile").classes == ()

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('{"column"', "classes.json: is broken JSON ("),
            ("[]", "classes.json: is not an object"),
            ('{"column": "fashion_style", "clases": ["a", "b"]}', "unknown key 'clases' (did you mean 'classes'?)"),
            ('{"column": "fashion_style"}', '"classes" is not a list of class names'),
            ('{"column": "fashion_style", "classes": ["Chic", 3]}', '"classes" is not a list of class names'),
            ('{"column": "fashion_style", "classes": ["Chic"]}', '"classes" has 1 names; styles need at least two'),
            ('{"column": "fashion_style", "classes": ["a", "b", "a"]}', "class 'a' occurs twice"),
            ('{"classes": ["a", "b"]}', '"column" is not the name of a column'),
            (
                '{"column": "fashion_style", "classes": ["Chic", "Streets"]}',
                "profiles.csv, line 3, column fashion_style: 'Street' is no class of classes.json "
                "(did you mean 'Streets'?); correct it or add it at the end",
            ),
        ],
    )
    def test_faults(self, root: Path, content: str, said: str) -> None:
        (root / "classes.json").write_text(content)
        assert said in message(root, "style")


class TestProfilesAlone:
    def test_whatever_else_is_there(self, make_folder: MakeFolder) -> None:
        root = make_folder(
            header=("profile_id", "image", "split", "city"),
            profiles=[("p", "1.png", "train", "Seoul"), ("q", "2.png", "train", "")],
            couples="nonsense",
            metadata=[{"image": "1.png", "style": "a"}],
        )
        folder = check_photos(
            read_folder(root, task="profile"), NONE, max_source_pixels=10**6, on_bad_image="error", num_workers=0
        )
        assert folder.profile_ids == ("p", "q") and folder.couples == () and folder.labels == {}
        assert folder.metadata == {"1.png": {"style": "a"}} and folder.columns["p"]["city"] == "Seoul"
        assert folder.without({"p": "bad"}).profile_ids == ("q",)
        assert set(people_of(folder)) == {"p", "q"}

    def test_nothing_is_divided(self, make_folder: MakeFolder) -> None:
        folder = read_folder(make_folder(profiles=[(f"p{i}", f"{i}.png") for i in range(9)]), task="profile")
        with pytest.raises(UserError, match=r"data\.task=profile: profiles without couples or classes cannot be split"):
            make_split(folder, seed=0, fractions=FRACTIONS)
