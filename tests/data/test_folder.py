"""A sound dataset folder, read."""

import json
import os
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from style_match.data.dataset import DatasetFolder, read_folder, write_rejected
from style_match.data.fingerprints import Fingerprints
from style_match.data.records import Couple, Photo
from style_match.utils.errors import UserError

from .conftest import MakeFolder, write_csv, write_photo


def to_parquet(path: Path, rows: list[dict[str, object]]) -> None:
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


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
    root = make_folder(
        header=("profile_id", "image", "gender"),
        profiles=[("a", "a.png", "male"), ("b", "b.png", "male")],
        sides=("left_id", "right_id"),
        couples=[("a", "b")],
    )
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


def test_parquet_reads_like_csv(make_folder: MakeFolder, tmp_path: Path) -> None:
    root = make_folder(profiles=[("1", "1.png"), ("2", "2.png")], couples=[("1", "2")])
    other = tmp_path / "other"
    for number in (1, 2):
        write_photo(other / f"{number}.png", (number - 1, 0, 90))
    to_parquet(other / "profiles.parquet", [{"profile_id": 1, "image": "1.png"}, {"profile_id": 2, "image": "2.png"}])
    to_parquet(other / "couples.parquet", [{"female_id": 1, "male_id": 2}])
    one, two = read_folder(root, task="couple"), read_folder(other, task="couple")
    assert [(photo.profile_id, photo.image) for photo in one.photos] == [
        (photo.profile_id, photo.image) for photo in two.photos
    ]
    fingerprints = Fingerprints(None)
    assert one.fingerprint(fingerprints) == two.fingerprint(fingerprints)
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


def test_home_and_relative_folders(couple_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(couple_folder.parent))
    monkeypatch.chdir(couple_folder.parent)
    for root in ("~/data", "data"):
        assert read_folder(root, task="couple").root == couple_folder


@pytest.mark.parametrize(
    ("root", "message"),
    [("nowhere", "data.root=nowhere: .*nowhere does not exist"), ("data/profiles.csv", "is a file")],
)
def test_no_folder(couple_folder: Path, monkeypatch: pytest.MonkeyPatch, root: str, message: str) -> None:
    monkeypatch.chdir(couple_folder.parent)
    with pytest.raises(UserError, match=message):
        read_folder(root, task="couple")
    with pytest.raises(UserError, match=r"data\.image_root=nowhere"):
        read_folder(couple_folder, task="couple", image_root="nowhere")


def test_file_names_in_other_scripts_and_with_spaces(make_folder: MakeFolder) -> None:
    names = ["사진 1.png", "Screenshot 3.12.01\u202fPM.png", "été.png", "a,b.png"]
    root = make_folder(
        header=("profile_id", "image", "fashion_style"),
        profiles=[(f"p{i}", name, f"class{i % 2}") for i, name in enumerate(names)],
    )
    assert [photo.image for photo in read_folder(root, task="style").photos] == names


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

    def test_one_after_the_other(self, folder: DatasetFolder) -> None:
        left = folder.without({"m1": "x"}).without({"f1": "y"})
        assert [(each.kind, each.id) for each in left.rejected] == [
            ("profile", "m1"),
            ("couple", "f1 + m1"),
            ("profile", "f1"),
            ("couple", "f1 + m2"),
        ]

    def test_nothing_is_left(self, folder: DatasetFolder) -> None:
        with pytest.raises(UserError, match=r"nothing is left after leaving out 2 profiles"):
            folder.without({"f1": "x", "f2": "x"})

    def test_an_older_rejected_csv_does_not_stay(self, folder: DatasetFolder, tmp_path: Path) -> None:
        (tmp_path / "rejected.csv").write_text("old")
        assert write_rejected(folder, tmp_path / "rejected.csv") == 0
        assert (tmp_path / "rejected.csv").read_text() == "kind,id,file,row,reason\n"


class TestFingerprint:
    def of(self, root: Path, task: str = "couple") -> str:
        return read_folder(root, task=task).fingerprint(Fingerprints(None))

    def test_where_and_how_it_is_written_does_not_matter(self, couple_folder: Path, tmp_path: Path) -> None:
        before = self.of(couple_folder)
        moved = couple_folder.rename(tmp_path / "moved")
        text = (moved / "couples.csv").read_text()
        (moved / "couples.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
        os.utime(moved / "images" / "f1.png")
        assert self.of(moved) == before

    def test_every_part_matters(self, couple_folder: Path) -> None:
        seen = {self.of(couple_folder)}
        ids = [f"{side}{number}" for number in range(10) for side in "fm"]
        images = {profile_id: f"images/{profile_id}.png" for profile_id in ids}

        def changed() -> bool:
            seen.add(self.of(couple_folder))
            return True

        write_photo(couple_folder / "images" / "f1.png", (1, 2, 3))
        assert changed() and len(seen) == 2
        (couple_folder / "metadata.jsonl").write_text(json.dumps({"image": images["f1"], "vibe": "neat"}))
        assert changed() and len(seen) == 3
        (couple_folder / "metadata.jsonl").write_text(json.dumps({"image": images["f1"], "vibe": "dandy"}))
        assert changed() and len(seen) == 4
        write_csv(couple_folder / "couples.csv", ("female_id", "male_id"), [("f0", "m1"), ("f1", "m0")])
        assert changed() and len(seen) == 5
        write_csv(
            couple_folder / "profiles.csv",
            ("profile_id", "image", "user_id"),
            [(profile_id, image, f"u{profile_id}") for profile_id, image in images.items()],
        )
        assert changed() and len(seen) == 6
