"""Whose photos are asked about: the column `consent`, and which files are photos at all."""

import csv
import os

import pytest
from PIL import Image

from style_match.data.fingerprints import Fingerprints
from style_match.labeling.photos import check_photos, find_photos, without_consent
from style_match.utils.errors import UserError
from tests.labeling.makers import picture


def profiles(folder, *rows, header="profile_id,image,consent"):
    (folder / "profiles.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def refused(folder, sha256=None) -> dict[str, str]:
    found = find_photos(folder, None, skip=[], max_faults_shown=20)
    return without_consent(
        found.table, found.photos, sha256 or {image: image for image in found.photos}, max_faults_shown=20
    )


@pytest.mark.parametrize("cell", ["yes", "true", "1", "YES", "no", "false", "0", "", "NO"])
def test_yes_and_no(photos, cell):
    reason = {} if cell.lower() in ("yes", "true", "1") else {"a.jpg": "profile p has not consented (profiles.csv)"}
    assert refused(profiles(photos, f"p,a.jpg,{cell}")) == reason


@pytest.mark.parametrize("cell", ["maybe", "2", "y", "예"])
def test_another_word_is_a_fault_with_its_row(photos, cell):
    with pytest.raises(UserError) as caught:
        refused(profiles(photos, "p,a.jpg,yes", f"q,b.jpg,{cell}"))
    message = str(caught.value)
    assert "profiles.csv, line 3, column consent" in message and cell in message and "Nothing was sent" in message


def test_rows_of_a_profile_that_disagree_are_a_fault(photos):
    with pytest.raises(UserError, match=r"line 3.*'p' has consented in one row and not in another"):
        refused(profiles(photos, "p,a.jpg,yes", "p,b.jpg,no"))


@pytest.mark.parametrize("header", ["Consent", "CONSENT", "con sent", "consent?"])
def test_a_column_that_is_meant_for_it_is_not_passed_over(photos, header):
    with pytest.raises(UserError) as caught:
        refused(profiles(photos, "p,a.jpg,no", header=f"profile_id,image,{header}"))
    message = str(caught.value)
    assert "profiles.csv" in message and "rename the column to consent" in message and "Nothing was sent" in message


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_tables_of_three_folders_above_are_obeyed(command, tmp_path, answers, depth):
    folder = tmp_path.joinpath("root", *["below"] * depth)
    folder.mkdir(parents=True)
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(picture(ord(name[0])))
    below = "/".join(["below"] * depth)
    profiles(tmp_path / "root", f"p,{below}/a.jpg,yes", f"q,{below}/b.jpg,no")
    command(f"images={folder}", "labeler=replay", f"labeler.file={answers('a', 'b')}")
    assert ("left out, no consent: 1 (b.jpg)" in command.err) == (depth < 4)
    assert ("no profiles table was found, so consent was not checked" in command.err) == (depth == 4)


def test_a_table_without_the_column_is_named(command, photos, answers):
    profiles(photos, "p,a.jpg", header="profile_id,image")
    command(f"images={photos}", "labeler=replay", f"labeler.file={answers('a')}")
    assert "profiles.csv has no column consent, so consent was not checked" in command.err


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


def test_a_copy_with_other_bytes_is_the_same_photo(photos):
    """p does not consent, and r has the same picture in another file format."""
    with Image.open(photos / "a.jpg") as image:
        image.save(photos / "a.png")
        image.save(photos / "b.bmp")
    profiles(photos, "p,a.png,no", "r,b.bmp,yes", "s,c.jpg,yes")
    found = find_photos(photos, None, skip=[], max_faults_shown=20)
    checked = check_photos(
        found.photos, Fingerprints(None), max_source_pixels=10**6, num_workers=1, progress=lambda *_: None
    )
    why = without_consent(found.table, found.photos, checked.pixels, max_faults_shown=20)
    assert why["b.bmp"] == "profile p has not consented (profiles.csv)" and "c.jpg" not in why


@pytest.mark.parametrize("named", ["a.jpg", "photos/a.jpg"])
def test_the_table_of_the_folder_above_is_obeyed(photos, named):
    profiles(photos.parent, f"p,{named},yes")
    found = refused(photos)
    assert "a.jpg" not in found and len(found) == 5
    assert found["b.jpg"] == "no profile of profiles.csv names it, so there is no consent"


def test_a_table_that_is_named_is_read(photos, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    profiles(tmp_path / "elsewhere", "p,a.jpg,no")
    found = find_photos(photos, tmp_path / "elsewhere" / "profiles.csv", skip=[], max_faults_shown=20)
    assert len(found.photos) == 6
    assert "a.jpg" in without_consent(
        found.table, found.photos, {image: image for image in found.photos}, max_faults_shown=20
    )
    with pytest.raises(UserError, match="the name must be"):
        find_photos(photos, photos / "a.jpg", skip=[], max_faults_shown=20)


@pytest.mark.integration
def test_photos_without_consent_are_never_opened_for_asking_and_are_named(typed, photos, answers):
    profiles(photos, "p,a.jpg,yes", "q,b.jpg,no", "r,deep/f.jpg,")
    typed(f"images={photos}", "labeler=replay", f"labeler.file={answers('a', 'b', 'deep/f')}")
    assert "left out, no consent: 2 (b.jpg, deep/f.jpg)" in typed.err and "to send: 1 photos" in typed.err
    with open(photos / "failed.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[1] == ["b.jpg", "no consent", "profile q has not consented (profiles.csv)", "0"]
    assert (photos / "metadata.jsonl").read_text().count("\n") == 1
    profiles(photos, "p,a.jpg,no", "q,b.jpg,no")
    words = [f"images={photos}", "labeler=replay", f"labeler.file={answers('a')}"]
    assert "none of the 2 photos can be labelled" in typed(*words, code=2)


def test_consent_that_is_withdrawn_takes_the_line_away(command, photos, answers):
    words = [f"images={photos}", "labeler=replay", f"labeler.file={answers('a', 'b')}"]
    command(*words, f"profiles={profiles(photos, 'p,a.jpg,yes', 'q,b.jpg,yes') / 'profiles.csv'}")
    assert "b.jpg" in (photos / "metadata.jsonl").read_text()
    command(*words, f"profiles={profiles(photos, 'p,a.jpg,yes', 'q,b.jpg,no') / 'profiles.csv'}")
    assert "b.jpg" not in (photos / "metadata.jsonl").read_text()


def test_photos_are_found_by_their_suffix_and_the_rest_is_counted(photos):
    (photos / "notes.txt").write_text("x")
    (photos / "G.JPEG").write_bytes(picture(7))
    (photos / ".hidden.jpg").write_bytes(picture(8))
    (photos / ".cache").mkdir()
    (photos / ".cache" / "h.jpg").write_bytes(picture(9))
    found = find_photos(photos, None, skip=[photos / "e.jpg"], max_faults_shown=20)
    assert list(found.photos) == ["G.JPEG", "a.jpg", "b.jpg", "c.jpg", "d.jpg", "deep/f.jpg"]
    assert found.num_other == 1


def test_a_dataset_folder_says_itself_which_photos_there_are(photos):
    profiles(photos, "p,deep/f.jpg,yes", "p,a.jpg,yes")
    found = find_photos(photos, None, skip=[], max_faults_shown=20)
    assert list(found.photos) == ["deep/f.jpg", "a.jpg"]
    profiles(photos, "p,x.jpg,yes", "q,/etc/passwd,yes", "r,../a.jpg,yes")
    with pytest.raises(UserError) as caught:
        find_photos(photos, None, skip=[], max_faults_shown=20)
    message = str(caught.value)
    assert "3 faults" in message and "'x.jpg' does not exist" in message and "data.image_root" not in message


def test_links_out_of_the_folder_are_refused_and_links_inside_are_not(photos, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.jpg").write_bytes(picture(8))
    os.symlink(photos / "a.jpg", photos / "same.jpg")
    os.symlink(photos / "deep", photos / "again")
    assert len(find_photos(photos, None, skip=[], max_faults_shown=20).photos) == 7
    os.symlink(outside / "x.jpg", photos / "x.jpg")
    os.symlink(outside, photos / "all")
    with pytest.raises(UserError) as caught:
        find_photos(photos, None, skip=[], max_faults_shown=20)
    assert "x.jpg is a symbolic link out of the folder" in str(caught.value) and "2 faults" in str(caught.value)


@pytest.mark.parametrize("name", ["line\nend.jpg", os.fsdecode(b"byte\xff.jpg")])
def test_names_that_no_table_can_hold_are_refused(photos, name):
    (photos / name).write_bytes(picture(8))
    with pytest.raises(UserError, match="control character or bytes that are no UTF-8"):
        find_photos(photos, None, skip=[], max_faults_shown=20)


def test_names_in_korean_with_spaces(command, photos, answers):
    (photos / "프로필 사진.jpg").write_bytes(picture(8))
    file = answers("a", "b", "c", "d", "e", "deep/f", "프로필 사진")
    command(f"images={photos}", "labeler=replay", f"labeler.file={file}")
    assert "프로필 사진.jpg" in (photos / "metadata.jsonl").read_text(encoding="utf-8")
