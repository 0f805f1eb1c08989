"""Whose photos are asked about: the column `consent`, and which files are photos at all."""

import os
from functools import partial

import pytest
from PIL import Image

from style_match.labeling.photos import find_photos, without_consent
from style_match.utils.errors import UserError
from tests.labeling.makers import picture

find = partial(find_photos, profiles=None, skip=[], max_faults_shown=20)


def profiles(folder, *rows, header="profile_id,image,consent"):
    (folder / "profiles.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def refused(folder, pixels=None) -> dict[str, str]:
    found = find(folder)
    pixels = pixels or {image: image for image in found.photos}
    return without_consent(found.table, found.photos, pixels, max_faults_shown=20)


@pytest.mark.parametrize("cell", ["yes", "true", "1", "YES", "no", "false", "0", "", "NO"])
def test_yes_and_no(photos, cell):
    reason = {} if cell.lower() in ("yes", "true", "1") else {"a.jpg": "profile p has not consented (profiles.csv)"}
    assert refused(profiles(photos, f"p,a.jpg,{cell}")) == reason


@pytest.mark.parametrize(
    "header, row, words",
    [
        ("consent", "q,b.jpg,maybe", ["line 3, column consent", "'maybe' is neither yes nor no"]),
        ("consent", "q,b.jpg,2", ["line 3, column consent", "'2' is neither yes nor no"]),
        ("consent", "q,b.jpg,예", ["line 3, column consent", "'예' is neither yes nor no"]),
        ("consent", "p,b.jpg,no", ["line 3", "'p' has consented in one row and not in another"]),
        ("Consent", "q,b.jpg,no", ["rename the column to consent"]),
        ("con sent", "q,b.jpg,no", ["rename the column to consent"]),
        ("consent?", "q,b.jpg,no", ["rename the column to consent"]),
    ],
)
def test_faults_of_the_column_are_named_and_nothing_is_sent(photos, header, row, words):
    with pytest.raises(UserError) as caught:
        refused(profiles(photos, "p,a.jpg,yes", row, header=f"profile_id,image,{header}"))
    assert all(word in str(caught.value) for word in [*words, "profiles.csv", "Nothing was sent"])


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_tables_of_three_folders_above_are_obeyed(replay, tmp_path, answers, depth):
    folder = tmp_path.joinpath("root", *["below"] * depth)
    folder.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(picture(ord(name[0])))
    below = "/".join(["below"] * depth)
    profiles(tmp_path / "root", f"p,{below}/a.jpg,yes", f"q,{below}/b.jpg,no")
    done = replay(answers("a", "b"), images=folder)
    assert ("left out, no consent: 1 (b.jpg)" in done.err) == (depth < 4)
    assert ("no profiles table was found, so consent was not checked" in done.err) == (depth == 4)


def test_a_table_without_the_column_is_named(replay, photos, answers):
    profiles(photos, "p,a.jpg", header="profile_id,image")
    assert "profiles.csv has no column consent, so consent was not checked" in replay(answers("a")).err


def test_a_link_has_two_ways_up(photos, tmp_path):
    root = tmp_path / "dataset"
    root.mkdir()
    (root / "images").symlink_to(photos)
    profiles(root, "p,images/a.jpg,no", "q,images/b.jpg,yes")
    assert {"a.jpg"} < set(refused(root / "images")) and "b.jpg" not in refused(root / "images")
    profiles(photos.parent, "p,photos/a.jpg,yes")
    with pytest.raises(UserError, match=r"each have a profiles table\. Choose one with profiles=FILE"):
        refused(root / "images")


def test_all_profiles_of_a_photo_and_of_its_copies_are_needed(photos):
    table = profiles(photos, "p,a.jpg,yes", "q,a.jpg,no", "p,b.jpg,yes", "q,c.jpg,no", "r,d.jpg,yes")
    same = {"a.jpg": "1", "b.jpg": "2", "c.jpg": "2", "d.jpg": "3"}
    assert set(refused(table, same)) == {"a.jpg", "b.jpg", "c.jpg"}


@pytest.mark.parametrize("named", ["a.jpg", "photos/a.jpg"])
def test_the_table_of_the_folder_above_is_obeyed(photos, named):
    profiles(photos.parent, f"p,{named},yes")
    found = refused(photos)
    assert "a.jpg" not in found and len(found) == 5
    assert found["b.jpg"] == "no profile of profiles.csv names it, so there is no consent"


@pytest.mark.integration
def test_photos_without_consent_are_never_opened_for_asking_and_are_named(replay, photos, answers):
    with Image.open(photos / "b.jpg") as image:
        image.save(photos / "copy.png")  # the same picture in other bytes
    profiles(photos, "p,a.jpg,yes", "q,b.jpg,no", "r,deep/f.jpg,", "s,copy.png,yes")
    done = replay(answers("a", "b", "deep/f"), typed=True)
    assert "left out, no consent: 3 (b.jpg, deep/f.jpg, copy.png)" in done.err and "to send: 1 photos" in done.err
    why = {"status": "no consent", "detail": "profile q has not consented (profiles.csv)", "attempts": "0"}
    assert done.failed["b.jpg"] == {"image": "b.jpg", **why} and done.failed["copy.png"]["detail"] == why["detail"]
    assert list(done.lines) == ["a.jpg"]
    profiles(photos, "p,a.jpg,no", "q,b.jpg,no")
    assert "none of the 2 photos can be labelled" in replay(answers("a"), typed=True, code=2).err


def test_consent_in_a_named_table_that_is_withdrawn_takes_the_line_away(replay, photos, answers, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    for consent in ("yes", "no"):
        table = profiles(tmp_path / "elsewhere", "p,a.jpg,yes", f"q,b.jpg,{consent}") / "profiles.csv"
        done = replay(answers("a", "b"), f"profiles={table}")
        assert ("b.jpg" in done.lines) == (consent == "yes") and "photos: 6" in done.err


def test_photos_are_found_by_their_suffix_and_the_rest_is_counted(photos):
    for name in ("notes.txt", "G.JPEG", ".hidden.jpg", "프로필 사진.jpg"):
        (photos / name).write_bytes(picture(7))
    (photos / ".cache").mkdir()
    (photos / ".cache" / "h.jpg").write_bytes(picture(9))
    found = find(photos, skip=[photos / "e.jpg"])
    assert list(found.photos) == ["G.JPEG", "a.jpg", "b.jpg", "c.jpg", "d.jpg", "프로필 사진.jpg", "deep/f.jpg"]
    assert found.num_other == 1


def test_a_dataset_folder_says_itself_which_photos_there_are(photos):
    profiles(photos, "p,deep/f.jpg,yes", "p,a.jpg,yes")
    assert list(find(photos).photos) == ["deep/f.jpg", "a.jpg"]
    profiles(photos, "p,x.jpg,yes", "q,/etc/passwd,yes", "r,../a.jpg,yes")
    with pytest.raises(UserError) as caught:
        find(photos)
    message = str(caught.value)
    assert "3 faults" in message and "'x.jpg' does not exist" in message and "data.image_root" not in message


def test_links_out_of_the_folder_are_refused_and_links_inside_are_not(photos, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.jpg").write_bytes(picture(8))
    os.symlink(photos / "a.jpg", photos / "same.jpg")
    os.symlink(photos / "deep", photos / "again")
    assert len(find(photos).photos) == 7
    os.symlink(outside / "x.jpg", photos / "x.jpg")
    os.symlink(outside, photos / "all")
    with pytest.raises(UserError, match=r"(?s)2 faults.*x\.jpg is a symbolic link out of the folder"):
        find(photos)


@pytest.mark.parametrize("name", ["line\nend.jpg", os.fsdecode(b"byte\xff.jpg")])
def test_names_that_no_table_can_hold_are_refused(photos, name):
    (photos / name).write_bytes(picture(8))
    with pytest.raises(UserError, match="control character or bytes that are no UTF-8"):
        find(photos)
