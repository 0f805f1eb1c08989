"""Every photo is decoded once, before anything else; all bad ones are listed, or left out when asked for."""

from pathlib import Path

import pytest

from style_match.data.dataset import DatasetFolder, read_folder
from style_match.data.fingerprints import Fingerprints
from style_match.data.photos import check_photos
from style_match.utils.errors import UserError

from .conftest import MakeFolder

OPTIONS = {"max_source_pixels": 1000, "num_workers": 2}


def check(root: Path, on_bad_image: str = "error", **options: object) -> DatasetFolder:
    folder = read_folder(root, task="couple")
    return check_photos(folder, Fingerprints(None), on_bad_image=on_bad_image, **{**OPTIONS, **options})  # type: ignore[arg-type]


@pytest.fixture
def bad_folder(make_folder: MakeFolder) -> Path:
    """f1 has one bad photo of two, m3 is text; couples f1 + m1, f2 + m2, f3 + m3."""
    profiles = [("f1", "f1.png"), ("f1", "f1b.png"), *((one, f"{one}.png") for one in ("f2", "f3", "m2", "m3", "m1"))]
    root = make_folder(profiles=profiles, couples=[("f1", "m1"), ("f2", "m2"), ("f3", "m3")])
    (root / "f1b.png").write_bytes((root / "f1b.png").read_bytes()[:40])
    (root / "m3.png").write_text("hello")
    return root


@pytest.mark.parametrize("num_workers", [0, 3])
def test_sound_photos(couple_folder: Path, num_workers: int) -> None:
    steps: list[tuple[int, int]] = []
    folder = check(couple_folder, num_workers=num_workers, progress=lambda done, total: steps.append((done, total)))
    assert steps == [(done, 20) for done in range(1, 21)]
    assert folder.rejected == ()
    assert folder.photo_sha256 == {photo.image: Fingerprints(None).sha256(photo.path) for photo in folder.photos}


def test_all_bad_photos_are_listed(bad_folder: Path) -> None:
    with pytest.raises(UserError) as caught:
        check(bad_folder)
    title, one, other = str(caught.value).split("\n  ")
    assert title.startswith("2 of 7 photos cannot be used (repair or remove them, or exclude their profiles with data.")
    assert one.startswith(f"profiles.csv, line 3: {bad_folder}/f1b.png: is damaged or cut off")
    assert other.startswith(f"profiles.csv, line 7: {bad_folder}/m3.png: is not an image")


def test_bad_photos_are_left_out_when_asked(bad_folder: Path) -> None:
    (bad_folder / "f1.png").write_bytes(b"")
    folder = check(bad_folder, "exclude")
    assert [couple.item_id for couple in folder.couples] == ["f2\tm2"]
    assert folder.profile_ids == ("f2", "f3", "m2", "m1")
    rejected = [("profile", "f1", 2), ("profile", "m3", 7), ("couple", "f1 + m1", 2), ("couple", "f3 + m3", 4)]
    assert [(each.kind, each.id, each.row) for each in folder.rejected] == rejected
    assert folder.rejected[0].reason.startswith("f1.png: is empty; f1b.png: is damaged or cut off")
    assert set(folder.photo_sha256) == {photo.image for photo in folder.photos}


def test_the_bound_on_pixels(couple_folder: Path) -> None:
    assert check(couple_folder, max_source_pixels=24).rejected == ()
    with pytest.raises(UserError, match=r"f9\.png: 6 x 4 = 24 pixels, more than data\.max_source_pixels=23"):
        check(couple_folder, max_source_pixels=23)
    with pytest.raises(UserError, match="nothing is left after leaving out 20 profiles"):
        check(couple_folder, "exclude", max_source_pixels=23)


def test_a_photo_that_goes_missing_stops_the_run_whatever_is_asked(couple_folder: Path) -> None:
    folder = read_folder(couple_folder, task="couple")
    for name in ("f1.png", "m2.png"):
        (couple_folder / "images" / name).unlink()
    with pytest.raises(UserError) as caught:
        check_photos(folder, Fingerprints(None), on_bad_image="exclude", **OPTIONS)  # type: ignore[arg-type]
    assert str(caught.value).startswith("2 of 20 photos could not be read:\n  ")
    assert str(caught.value).count("No such file or directory") == 2


def test_on_bad_image_is_one_of_two_words(couple_folder: Path) -> None:
    with pytest.raises(UserError, match=r"data\.on_bad_image=skip is none of error, exclude"):
        check(couple_folder, "skip")
