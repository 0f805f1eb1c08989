"""A source with tables becomes a dataset folder that training reads, with its page; forgotten people stay away."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from style_match.curation.forget import forget as forget_person
from style_match.curation.page import histogram, page
from style_match.curation.prepare import summary
from style_match.data.dataset import read_folder
from style_match.utils.errors import UserError
from tests.composed import composed

from .sources import (
    CLASSES,
    HEADER,
    add_profiles,
    edit_table,
    files_of,
    jpeg,
    jsonl,
    left_out,
    photo,
    read_rows,
    write,
    write_table,
)

OPTIONS = {"thumbnails": False, "thumbnail_px": 32, "max_groups": 50}


def test_photos_and_labels_become_a_folder_with_classes_and_a_split(source, run):
    prepared = run(source)
    out = prepared.folder.root
    assert {name.split("/")[0] for name in files_of(out)} == {
        *("classes.json", "photos", "prepared.json", "profiles.csv", "rejected.csv", "splits")
    }
    assert json.loads((out / "classes.json").read_text()) == {"column": "fashion_style", "classes": [*CLASSES]}
    folder = read_folder(out, task="style")
    assert folder.classes == CLASSES and len(folder.profile_ids) == 12
    for each in folder.photos:
        assert each.path.read_bytes() == (source / "photos" / each.path.name).read_bytes()
    assert sum(prepared.record["counts"]["split"].values()) == 12


def test_couples_are_split_as_couples(source, run):
    pairs = [(f"p{number}", f"p{number + 1}") for number in range(0, 12, 2)]
    write_table(source / "couples.csv", ("female_id", "male_id"), pairs)
    prepared = run(source, "split.fractions=[0.4,0.2,0.4]")
    assert prepared.record["identity"]["task"] == "couple"
    assert len(prepared.folder.couples) == 6
    assert not (prepared.folder.root / "classes.json").exists()
    write_table(source / "couples.csv", ("female_id", "male_id"), [*pairs, ("p0", "nobody")])
    with pytest.raises(UserError, match=r"couples.csv, line 8.*'nobody'"):
        run(source, out="other")


def test_columns_are_renamed_and_further_ones_and_the_split_are_kept(source, run):
    words = ["train"] * 6 + ["validation"] * 2 + ["test"] * 4
    rows = [(*row.values(), "yes", word) for row, word in zip(read_rows(source), words, strict=True)]
    write_table(source / "profiles.csv", ("id", "file", "style", "visual_quality", "consent", "split"), rows)
    prepared = run(source, "columns.profile_id=id", "columns.image=file", "columns.label=style")
    first = read_rows(prepared.folder.root)[0]
    assert (first["profile_id"], first["image"]) == ("p0", "photos/p0.jpg")
    assert (first["fashion_style"], first["consent"]) == ("Chic", "yes")
    assert prepared.record["counts"]["split"] == {"train": 6, "val": 2, "test": 4}
    write_table(source / "profiles.csv", (*HEADER, "style"), [(*row[:4], "x") for row in rows])
    with pytest.raises(UserError, match=r"'fashion_style' exists beside 'style'; remove one, or drop columns.label"):
        run(source, "columns.label=style", out="other")


def test_bad_and_small_photos_are_listed_or_left_out(source, run):
    write(source / "photos/p1.jpg", jpeg(photo(1, (20, 90))))
    write(source / "photos/p4.jpg", b"not an image")
    write(source / "photos/p5.jpg", jpeg(photo(5))[:400])
    with pytest.raises(UserError, match=r"(?s)2 of 12 photos.*line 6: photos/p4.jpg.*line 7: photos/p5.jpg"):
        run(source)
    prepared = run(source, "on_bad_image=exclude", "min_side_px=40")
    reasons = left_out(prepared.folder.root)
    assert reasons.keys() == {"p1", "p4", "p5"} and "begins with" in reasons["p4"] and "20 x 90" in reasons["p1"]
    assert prepared.record["counts"]["left_out"] == {"cannot be decoded": 2, "too small": 1}


def test_a_class_that_filtering_empties_is_named_with_the_remedy(source, run):
    low = {"Street": "Low", "Chic": "High"}
    edit_table(source, lambda rows: [{**row, "visual_quality": low[row["fashion_style"]]} for row in rows])
    with pytest.raises(UserError, match=r"(?s)leave_out.visual_quality=\[\].*Street: 0 of 6 profiles are kept"):
        run(source)
    assert not (source.parent / "out").exists()


def test_all_faults_of_the_table_are_reported_together(source, run, tmp_path: Path):
    (source / "photos/link.jpg").symlink_to(write(tmp_path / "secret.jpg", jpeg(photo(99))))
    faults = {
        "../p1.jpg": "leaves the folder",
        "/etc/hostname": "absolute path",
        "gone.jpg": "gone.jpg",
        "photos/link.jpg": "symbolic link out of",
        "photos/p3.jpg": "'X' is",
    }
    rows = [["", "photos/p0.jpg", "Chic", ""], *([f"p{name}", name, "X", ""] for name in faults)]
    write_table(source / "profiles.csv", HEADER, [*rows, rows[-1]])
    with pytest.raises(UserError) as error:
        run(source, "classes=[Chic,Street]")
    for part in ("line 2", "occurs twice", *faults.values()):
        assert part in str(error.value)


# Forgotten people.


def forget(out: Path, *profile_ids: str) -> None:
    options = (f"data.root={out}", f"profile=[{','.join(profile_ids)}]", f"features.root={out.parent / 'features'}")
    forget_person(composed("forget", *options))


@pytest.fixture
def named(source: Path) -> Path:
    """Ids that occur nowhere by chance, and metadata."""
    edit_table(source, lambda rows: [{**row, "profile_id": f"somebody-{row['profile_id']}"} for row in rows])
    lines = jsonl({"image": row["image"], "caption": f"of {row['profile_id']}"} for row in read_rows(source))
    write(source / "metadata.jsonl", lines)
    return source


def test_forgotten_people_stay_away_and_are_counted(named, run):
    out = run(named).folder.root
    forget(out, "somebody-p3", "somebody-p4")
    add_profiles(named, *((f"somebody-p{number}", jpeg(photo(number)), "Chic") for number in (20, 21)))
    before = (out / "forgotten.json").read_bytes()
    for _ in range(2):
        prepared = run(named)
        ids = [row["profile_id"] for row in read_rows(out)]
        assert len(ids) == 12 and {"somebody-p20", "somebody-p21"} <= {*ids}
        write(out / "prepared.html", page(prepared, OPTIONS))
        for name, content in files_of(out).items():
            assert not any(each in name.encode() + content for each in (b"somebody-p3", b"somebody-p4"))
        assert prepared.record["counts"]["forgotten"] == 2 and prepared.record["counts"]["photos"] == 12
        assert "note: 2 profiles ignored: removed by style_match.forget\n" in summary(prepared)
    assert (out / "forgotten.json").read_bytes() == before and not prepared.changed


def test_their_couples_stay_away_too(named, run):
    pairs = [(f"somebody-p{2 * i}", f"somebody-p{2 * i + 1}") for i in range(6)]
    write_table(named / "couples.csv", ("female_id", "male_id"), pairs)
    out = run(named, "split.fractions=[0.5,0.25,0.25]").folder.root
    forget(out, "somebody-p3")
    assert len(run(named, "split.fractions=[0.5,0.25,0.25]").folder.couples) == 5
    assert b"somebody-p3" not in (out / "couples.csv").read_bytes()


def test_an_interrupted_forget_or_a_damaged_list_stops_it(named, run):
    out = run(named).folder.root
    journal = write(out / ".forget.json", "{}")
    with pytest.raises(UserError, match=r"style_match.forget was interrupted here .* Run it again first"):
        run(named)
    journal.unlink()
    edit_table(out, lambda rows: [row for row in rows if row["profile_id"] != "somebody-p3"])
    for content in ("{}", "[{", '[{"profiles": [{"salt": "x"}]}]', "[3]"):
        write(out / "forgotten.json", content)
        with pytest.raises(UserError, match=r"forgotten.json"):
            run(named)
    assert "somebody-p3" not in (out / "profiles.csv").read_text(encoding="utf-8")


# prepared.html.

NASTY = '<b>x</b>"><script>alert(1)</script>'


@pytest.fixture
def prepared(source, run):
    """Ids and classes that look like markup, a near copy, a photo left out."""
    add_profiles(source, ("again", jpeg(photo(0), 35), "Chic"))

    def edit(rows):
        rows = [{**row, "fashion_style": row["fashion_style"].replace("Chic", "시크 <i>")} for row in rows]
        return [{**rows[0], "profile_id": NASTY}, {**rows[1], "visual_quality": "Low"}, *rows[2:]]

    edit_table(source, edit)
    return run(source)


def test_the_page_needs_no_network_escapes_and_counts(prepared):
    html = page(prepared, OPTIONS)
    assert "<script" not in html and "<b>x" not in html and "<i>" not in html
    assert not re.search(r"(?:src|href)=\"(?!data:)", html)
    assert NASTY in unescape(html) and "시크 &lt;i&gt;" in html
    text = " ".join(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<style>.*</style>", "", html)).split())
    for part in ("Street 6 5", "visual_quality is Low: 1", "groups 1, profiles in them 2", "line 3"):
        assert part in text


def test_photos_are_shown_only_on_request(prepared):
    assert "<img" not in page(prepared, OPTIONS)
    shown = page(prepared, OmegaConf.create({**OPTIONS, "thumbnails": True}))
    assert shown.count('<img src="data:image/jpeg;base64,') == 2


def test_every_photo_is_in_one_bin_of_sizes():
    rows = histogram([64, 65, 100, 128, 5000])
    assert [(name, count) for name, count, _ in rows if count] == [("to 64", 1), ("to 128", 3), ("above 4096", 1)]
    assert histogram([]) == []
