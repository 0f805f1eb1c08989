"""A source with tables becomes a dataset folder that training reads."""

import json
from pathlib import Path

import pytest

from style_match.data.dataset import read_folder
from style_match.utils.errors import UserError
from style_match.utils.text import plain

from .sources import CLASSES, HEADER, files_of, jpeg, photo, read_rows, write, write_table


def test_photos_and_labels_become_a_folder_with_classes_and_a_split(source, run):
    prepared = run(source)
    out = prepared.folder.root
    assert {name.split("/")[0] for name in files_of(out)} == {
        *("classes.json", "photos", "prepared.json", "profiles.csv", "rejected.csv", "splits")
    }
    assert json.loads((out / "classes.json").read_text()) == {"column": "fashion_style", "classes": [*CLASSES]}
    folder = read_folder(out, task="style")
    assert folder.classes == CLASSES
    assert len(folder.profile_ids) == 12
    for each in folder.photos:
        assert each.path.read_bytes() == (source / "photos" / each.path.name).read_bytes()
    assert sum(prepared.record["counts"]["split"].values()) == 12


def test_low_quality_is_left_out_with_its_reason_and_kept_on_request(source, run):
    rows = read_rows(source)
    rows[3]["visual_quality"] = "Low"
    write_table(source / "profiles.csv", HEADER, [list(row.values()) for row in rows])
    out = run(source).folder.root
    assert [row["profile_id"] for row in read_rows(out) if row["left_out"] == "visual_quality is Low"] == ["p3"]
    assert "photos/p3.jpg" in files_of(out)
    assert [(row["id"], row["reason"]) for row in read_rows(out, "rejected.csv")] == [
        ("p3", "photos/p3.jpg: visual_quality is Low")
    ]
    kept = run(source, "leave_out.visual_quality=[]", out="kept").folder
    assert "p3" in kept.profile_ids


def test_couples_are_copied_and_split_as_couples(source, run):
    pairs = [(f"p{number}", f"p{number + 1}") for number in range(0, 12, 2)]
    write_table(source / "couples.csv", ("female_id", "male_id"), pairs)
    prepared = run(source, "split.fractions=[0.4,0.2,0.4]")
    assert prepared.record["identity"]["task"] == "couple"
    assert len(prepared.folder.couples) == 6
    assert not (prepared.folder.root / "classes.json").exists()


def test_columns_have_names_of_the_users_choice_and_further_ones_are_kept(source, run):
    rows = [(*row.values(), "yes", f"u{row['profile_id']}") for row in read_rows(source)]
    write_table(source / "profiles.csv", ("id", "file", "style", "visual_quality", "consent", "user_id"), rows)
    out = run(source, "columns.profile_id=id", "columns.image=file", "columns.label=style").folder.root
    first = read_rows(out)[0]
    assert first["profile_id"] == "p0" and first["image"] == "photos/p0.jpg"
    assert (first["fashion_style"], first["consent"], first["user_id"]) == ("Chic", "yes", "up0")


def test_the_sources_own_split_is_kept(source, run):
    words = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
    rows = [(*row.values(), word) for row, word in zip(read_rows(source), words, strict=True)]
    write_table(source / "profiles.csv", (*HEADER, "split"), rows)
    assert run(source).record["counts"]["split"] == {"train": 6, "val": 2, "test": 4}


def test_bad_photos_are_listed_or_left_out(source, run):
    write(source / "photos/p4.jpg", b"not an image")
    write(source / "photos/p5.jpg", jpeg(photo(5))[:400])
    with pytest.raises(UserError, match=r"(?s)2 of 12 photos.*line 6: photos/p4.jpg.*line 7: photos/p5.jpg"):
        run(source)
    prepared = run(source, "on_bad_image=exclude")
    reasons = {row["profile_id"]: row["left_out"] for row in read_rows(prepared.folder.root) if row["left_out"]}
    assert reasons.keys() == {"p4", "p5"} and "begins with" in reasons["p4"]
    assert prepared.record["counts"]["left_out"] == {"cannot be decoded": 2}


def test_small_photos_are_left_out(source, run):
    write(source / "photos/p1.jpg", jpeg(photo(1, (20, 90))))
    assert run(source, "min_side_px=40").record["counts"]["left_out"] == {"too small": 1}


def test_a_class_that_filtering_empties_is_named_with_the_remedy(source, run):
    rows = [(row["profile_id"], row["image"], row["fashion_style"], "Low") for row in read_rows(source)[1::2]]
    rows += [list(row.values()) for row in read_rows(source)[0::2]]
    write_table(source / "profiles.csv", HEADER, rows)
    with pytest.raises(UserError, match=r"(?s)leave_out.visual_quality=\[\].*Street: 0 of 6 profiles are kept"):
        run(source)
    assert not (source.parent / "out").exists()


def test_all_faults_of_the_table_are_told_together(source, run):
    rows = [["", "photos/p0.jpg", "Chic", ""], ["p1", "../p1.jpg", "Chic", ""], ["p2", "/etc/hostname", "Chic", ""]]
    rows += [["p3", "photos/p3.jpg", "Street", ""], ["p3", "photos/p3.jpg", "street", ""], ["p4", "gone.jpg", "X", ""]]
    write_table(source / "profiles.csv", HEADER, rows)
    with pytest.raises(UserError) as error:
        run(source, "classes=[Chic,Street]")
    for part in ("line 2", "leaves the folder", "absolute path", "line 6", "gone.jpg", "'street' is none of", "'X'"):
        assert part in str(error.value)


def test_a_link_out_of_the_source_is_refused(source, run, tmp_path: Path):
    secret = write(tmp_path / "secret.jpg", jpeg(photo(99)))
    (source / "photos/p0.jpg").unlink()
    (source / "photos/p0.jpg").symlink_to(secret)
    with pytest.raises(UserError, match="symbolic link out of"):
        run(source)


def test_names_are_safe_whatever_the_ids_are(source, run):
    ids = ["a/b", "A/b", "../../x", "지우", "Lee", "lee", "e\u0300", "\u00e9", "con", "x" * 300, " sp ace", "p11"]
    rows = [(new, row["image"], row["fashion_style"], "") for new, row in zip(ids, read_rows(source), strict=True)]
    write_table(source / "profiles.csv", HEADER, rows)
    out = run(source).folder.root
    names = [row["image"] for row in read_rows(out)]
    assert len({name.casefold() for name in names}) == 12
    assert all(name.count("/") == 1 and len(name.encode()) < 200 for name in names)
    assert names[3] == "photos/지우.jpg" and names[11] == "photos/p11.jpg"
    assert [row["profile_id"] for row in read_rows(out)] == [plain(each) for each in ids]
    assert sorted(files_of(out / "photos")) == sorted(name.removeprefix("photos/") for name in names)
