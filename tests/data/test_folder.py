"""A sound dataset folder, read."""

import os
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from style_match.data.dataset import DatasetFolder, read_folder, write_rejected
from style_match.data.fingerprints import Fingerprints
from style_match.data.records import Couple, Photo
from style_match.utils.errors import UserError

from .conftest import MakeFolder, write_photo

COUPLE = {"female_id": 1, "male_id": 2}


def test_couples(make_folder: MakeFolder) -> None:
    root = make_folder(
        header=("profile_id", "image", "gender", "city"),
        profiles=[
            ("f1", "images/f1.png", "female", "Seoul"),
            ("m1", "images/m1.png", "male", ""),
            ("f1", "images/f1b.png", "female", "Busan"),
        ],
        couples=[("f1", "m1")],
        metadata=[{"image": "images/f1b.png", "caption": "정장", "tags": ["a", "b"]}],
    )
    folder = read_folder(root, task="couple")
    assert folder.photos == (
        Photo("f1", "images/f1.png", root / "images/f1.png", 2),
        Photo("m1", "images/m1.png", root / "images/m1.png", 3),
        Photo("f1", "images/f1b.png", root / "images/f1b.png", 4),
    )
    assert folder.profile_ids == ("f1", "m1")
    assert folder.columns == {"f1": {"gender": "female", "city": "Seoul"}, "m1": {"gender": "male", "city": ""}}
    assert [photo.row for photo in folder.photos_of("f1")] == [2, 4]
    assert folder.couples == (Couple("f1", "m1", None, 2),)
    assert (folder.left_name, folder.right_name) == ("female", "male")
    assert (folder.label_column, folder.labels, folder.rejected) == (None, {}, ())
    assert folder.metadata == {"images/f1b.png": {"caption": "정장", "tags": ["a", "b"]}}


def test_left_and_right(make_folder: MakeFolder) -> None:
    profiles = [("a", "a.png", "male"), ("b", "b.png", "male")]
    header, sides = ("profile_id", "image", "gender"), ("left_id", "right_id")
    root = make_folder(header=header, profiles=profiles, sides=sides, couples=[("a", "b")])
    folder = read_folder(root, task="couple", label_column=None)
    assert (folder.left_name, folder.right_name, folder.label_column) == ("left", "right", None)


def test_styles(make_folder: MakeFolder) -> None:
    root = make_folder(
        header=("profile_id", "image", "스타일", "user_id"),
        profiles=[("p1", "1.png", "모던", "u1"), ("p1", "2.png", "모던", "u1"), ("p2", "3.png", "빈티지", "")],
    )
    folder = read_folder(root, task="style", label_column="스타일")
    assert folder.labels == {"p1": "모던", "p2": "빈티지"} and folder.couples == ()
    with pytest.raises(UserError, match=r"no column 'fashion_style'; the columns are profile_id"):
        read_folder(root, task="style")
    with pytest.raises(UserError, match=r"data\.label_column is not set"):
        read_folder(root, task="style", label_column=None)
    with pytest.raises(UserError, match=r"data\.task=styles is none of couple, style \(did you mean 'style'\?\)"):
        read_folder(root, task="styles")


def test_parquet_reads_like_csv(make_folder: MakeFolder) -> None:
    root = make_folder(profiles=[("1", "1.png"), ("2", "2.png")], couples=[("1", "2")])
    one = read_folder(root, task="couple")
    rows = {"profiles": [{"profile_id": i, "image": f"{i}.png"} for i in (1, 2)], "couples": [COUPLE]}
    for stem, content in rows.items():
        (root / f"{stem}.csv").unlink()
        parquet.write_table(pyarrow.Table.from_pylist(content), root / f"{stem}.parquet")
    two = read_folder(root, task="couple")
    assert one.fingerprint(Fingerprints(None)) == two.fingerprint(Fingerprints(None))
    assert (one.photos[0].row, two.photos[0].row, two.place(1)) == (2, 1, "row 1")


def test_links_between_the_folder_and_image_root(couple_folder: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    (couple_folder / "images").rename(photos)
    write_photo(couple_folder / "f0.png")
    (photos / "f0.png").unlink()
    (photos / "f0.png").symlink_to(couple_folder / "f0.png")
    (photos / "f1.png").unlink()
    (photos / "f1.png").symlink_to("f2.png")
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "images").symlink_to(photos)
    (tmp_path / "link").symlink_to(couple_folder)
    with pytest.raises(UserError, match="is a symbolic link out of"):
        read_folder(tmp_path / "link", task="couple", image_root=tmp_path / "base")
    text = (couple_folder / "profiles.csv").read_text().replace("images/", "")
    (couple_folder / "profiles.csv").write_text(text)
    folder = read_folder(tmp_path / "link", task="couple", image_root=photos)
    assert len(folder.photos) == 20 and folder.photos[0].path == photos / "f0.png"


def test_home_relative_and_missing_folders(couple_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(couple_folder.parent))
    monkeypatch.chdir(couple_folder.parent)
    for root in ("~/data", "data"):
        assert read_folder(root, task="couple").root == couple_folder
    for root, message in (("no", "data.root=no: .*no does not exist"), ("data/profiles.csv", "is a file")):
        with pytest.raises(UserError, match=message):
            read_folder(root, task="couple")
    with pytest.raises(UserError, match=r"data\.image_root=nowhere"):
        read_folder(couple_folder, task="couple", image_root="nowhere")


def test_file_names_in_other_scripts_and_with_spaces(make_folder: MakeFolder) -> None:
    names = ["사진 1.png", "Screenshot 3.12.01\u202fPM.png", "été.png", "a,b.png"]
    root = make_folder(profiles=[(f"p{i}", name) for i, name in enumerate(names)])
    assert [photo.image for photo in read_folder(root, task="profile").photos] == names


class TestWithout:
    @pytest.fixture
    def folder(self, make_folder: MakeFolder) -> DatasetFolder:
        root = make_folder(
            profiles=[("f1", "f1.png"), ("f1", "f1b.png"), ("m1", "m1.png"), ("f2", "f2.png"), ("m2", "m2.png")],
            couples=[("f1", "m1"), ("f2", "m2"), ("f1", "m2")],
            metadata=[{"image": "f1.png", "a": "1"}, {"image": "m2.png", "a": "2"}],
        )
        return read_folder(root, task="couple")

    def test_profiles_and_their_couples_go(self, folder: DatasetFolder, tmp_path: Path) -> None:
        left = folder.without({"f1": "f1b.png: is damaged, badly"})
        assert left.profile_ids == ("m1", "f2", "m2")
        assert [photo.image for photo in left.photos] == ["m1.png", "f2.png", "m2.png"]
        assert left.couples == (Couple("f2", "m2", None, 3),)
        assert left.metadata == {"m2.png": {"a": "2"}}
        assert write_rejected(left, tmp_path / "rejected.csv") == 3
        assert (tmp_path / "rejected.csv").read_text() == (
            "kind,id,file,row,reason\n"
            'profile,f1,profiles.csv,2,"f1b.png: is damaged, badly"\n'
            "couple,f1 + m1,couples.csv,2,profile f1 is left out\n"
            "couple,f1 + m2,couples.csv,4,profile f1 is left out\n"
        )
        assert folder.profile_ids == ("f1", "m1", "f2", "m2"), "the folder itself stays as it was"

        assert write_rejected(folder, tmp_path / "rejected.csv") == 0
        assert (tmp_path / "rejected.csv").read_text() == "kind,id,file,row,reason\n", "an older file does not stay"

    def test_one_after_the_other_until_nothing_is_left(self, folder: DatasetFolder) -> None:
        left = folder.without({"m1": "x"}).without({"f1": "y"})
        ids = [("profile", "m1"), ("couple", "f1 + m1"), ("profile", "f1"), ("couple", "f1 + m2")]
        assert [(each.kind, each.id) for each in left.rejected] == ids
        with pytest.raises(UserError, match=r"nothing is left after leaving out 2 profiles"):
            folder.without({"f1": "x", "f2": "x"})


class TestFingerprint:
    def of(self, root: Path) -> str:
        return read_folder(root, task="couple").fingerprint(Fingerprints(None))

    def test_where_and_how_it_is_written_does_not_matter(self, couple_folder: Path, tmp_path: Path) -> None:
        before = self.of(couple_folder)
        moved = couple_folder.rename(tmp_path / "moved")
        text = (moved / "couples.csv").read_text()
        (moved / "couples.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
        os.utime(moved / "images" / "f1.png")
        assert self.of(moved) == before

    def test_every_part_matters(self, couple_folder: Path) -> None:
        root, found = couple_folder, [self.of(couple_folder)]
        profiles, couples = ((root / name).read_text() for name in ("profiles.csv", "couples.csv"))
        metadata, user = '{"image": "images/f1.png", "vibe": "%s"}', ",user_id\n"
        for change in (
            lambda: write_photo(root / "images" / "f1.png", (1, 2, 3)),
            lambda: (root / "metadata.jsonl").write_text(metadata % "neat"),
            lambda: (root / "metadata.jsonl").write_text(metadata % "dandy"),
            lambda: (root / "couples.csv").write_text(couples.replace("f0,m0\nf1,m1\n", "f0,m1\nf1,m0\n")),
            lambda: (root / "profiles.csv").write_text(profiles.replace("\n", user, 1).replace("f1.png", "f1.png,u")),
        ):
            change()
            found.append(self.of(root))
        assert len(set(found)) == 6
