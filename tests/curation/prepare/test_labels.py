"""Labels from metadata.jsonl, and the filters on them."""

import json
from pathlib import Path

import pytest

from style_match.curation.prepare import summary
from style_match.labeling.ledger import Ledger
from style_match.labeling.outputs import write_dry_run
from style_match.synthetic.dataset import NOTE
from style_match.utils.errors import UserError

from .sources import CLASSES, edit_table, jpeg, jsonl, left_out, photo, read_rows, write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photos without a table, with the metadata of a labeler."""
    root = tmp_path / "photos_alone"
    for number in range(12):
        write(root / f"{number}.jpg", jpeg(photo(number)))
    write(root / "metadata.jsonl", lines(range(12)))
    return root


def lines(numbers, **changed) -> str:
    usual = {"shot_type": "Others_Cam", "visual_quality": "High"}
    return jsonl(
        {"image": f"{n}.jpg", "fashion_style": CLASSES[n % 2], **usual, "caption": f"사진 {n}", **changed}
        for n in numbers
    )


def test_photos_get_their_labels_and_keep_their_metadata(photos, run, tmp_path: Path):
    out = run(photos).folder.root
    row = read_rows(out)[1]
    assert (row["profile_id"], row["fashion_style"], row["shot_type"]) == ("1", "Street", "Others_Cam")
    first = json.loads((out / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["image"] == "photos/0.jpg" and first["caption"] == "사진 0"
    (tmp_path / "labels").mkdir()
    file = (photos / "metadata.jsonl").rename(tmp_path / "labels/metadata.jsonl")
    elsewhere = run(photos, "kind=tables", f"metadata={file}", out="elsewhere")
    assert read_rows(elsewhere.folder.root) == read_rows(out)


def test_files_of_the_labeler_are_no_photos(photos, run):
    write(photos / "failed.csv", b"")
    write(photos / "audit/confusion.png", jpeg(photo(50)))
    with Ledger(photos) as ledger:
        write_dry_run(photos, ledger, jpeg(photo(51)))
        ledger.note(NOTE, "true")
    write(photos / "notes.txt", b"")
    prepared = run(photos)
    assert prepared.record["counts"]["photos"] == 12 and prepared.record["synthetic"] is True
    assert "1 file ignored: not a photo" in prepared.notes


def test_every_fault_of_the_metadata_is_named(photos, run):
    bad = lines([0, 0]) + '{"image": "1.jpg", \n' + lines([77]) + lines([2, 3], fashion_style="Strete")
    bad += lines([4], visual_quality=7) + lines([5])
    write(photos / "metadata.jsonl", bad)
    with pytest.raises(UserError) as error:
        run(photos, "schema=style")
    for fault in (
        "metadata.jsonl, line 2: ",
        "metadata.jsonl, line 3: is broken JSON",
        "metadata.jsonl, line 4: no photo '77.jpg'",
        "metadata.jsonl, line 5: fashion_style of 2.jpg: 'Strete' is none of ",
        "(did you mean 'Street_Hip'?)",
        "line 7: visual_quality of 4.jpg is 7, not a text",
    ):
        assert fault in str(error.value)


def test_tables_and_metadata_must_agree_with_the_classes_and_each_other(source, run):
    with pytest.raises(UserError, match=r"(?s)^6 faults.*line 3, column fashion_style: 'Street' is none of Chic"):
        run(source, "classes=[Chic,Artsy]")
    write(source / "metadata.jsonl", jsonl({"image": f"photos/p{n}.jpg", "fashion_style": "Chic"} for n in range(2)))
    with pytest.raises(UserError, match=r"line 3, column fashion_style: 'Street' here, but 'Chic' in metadata.jsonl"):
        run(source)
    (source / "metadata.jsonl").unlink()
    edit_table(source, lambda rows: [*rows, {**rows[0], "image": "photos/p1.jpg", "fashion_style": "Street"}])
    with pytest.raises(UserError, match=r"profile 'p0' has 'Street' here and 'Chic' in profiles.csv, line 2"):
        run(source)


def test_photos_without_a_label_stop_it_unless_they_may_be_left_out(photos, run):
    write(photos / "metadata.jsonl", lines(range(10)))
    with pytest.raises(UserError, match=r"(?s)2 of 12 photos have no fashion_style.*unlabelled=true.*10.jpg.*11.jpg"):
        run(photos)
    prepared = run(photos, "leave_out.unlabelled=true")
    assert prepared.record["counts"]["left_out"] == {"no fashion_style": 2}
    assert left_out(prepared.folder.root).keys() == {"10", "11"}


def test_the_label_may_be_another_attribute_and_must_exist(photos, run):
    with pytest.raises(UserError, match=r"no photo has a fashion_stile \(did you mean 'fashion_style'\?\)"):
        run(photos, "label=fashion_stile")
    write(photos / "metadata.jsonl", lines(range(6), season="여름") + lines(range(6, 12), season="겨울"))
    assert run(photos, "label=season").record["classes"] == ["겨울", "여름"]


def test_the_schema_names_classes_that_no_photo_has(photos, run):
    first, second = lines(range(6), fashion_style="Street_Hip"), lines(range(6, 12), fashion_style="Chic_Modern")
    write(photos / "metadata.jsonl", first + second)
    out = run(photos, "schema=style").folder.root
    assert len(json.loads((out / "classes.json").read_text())["classes"]) == 5


@pytest.fixture
def qualities(source):
    """p0 is Low, p1 Medium, all others High."""
    values = iter(["Low", "Medium"])
    edit_table(source, lambda rows: [{**row, "visual_quality": next(values, "High")} for row in rows])
    return source


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("leave_out.visual_quality=[Lo]", r"leave_out.visual_quality=Lo matches no photo \(did you mean 'Low'\?\)"),
        ("leave_out.visual_quality=[low]", r"did you mean 'Low'\?\); known are High, Low, Medium"),
        ("+leave_out.visual_qualty=[Low]", r"leave_out.visual_qualty is no column .* \(did you mean 'visual_quality'"),
        ("+leave_out.fashion_style=Chic", r"must be a list, such as leave_out.fashion_style=\[Chic\]"),
    ],
)
def test_filters_without_effect_are_refused(option, message, qualities, run):
    with pytest.raises(UserError, match=message):
        run(qualities, option)


def test_filters_leave_out_with_a_reason(qualities, run):
    prepared = run(qualities, "leave_out.visual_quality=[Medium,Low]")
    out = prepared.folder.root
    assert prepared.record["counts"]["left_out"] == {"visual_quality is Low": 1, "visual_quality is Medium": 1}
    assert not prepared.notes and (out / "photos/p0.jpg").exists()
    assert [(row["id"], row["reason"]) for row in read_rows(out, "rejected.csv")] == [
        ("p0", "photos/p0.jpg: visual_quality is Low"),
        ("p1", "photos/p1.jpg: visual_quality is Medium"),
    ]
    assert "p0" in run(qualities, "leave_out.visual_quality=[]", out="all").folder.profile_ids


def test_default_filters_without_effect_are_noted(source, run):
    assert "note: no photo is Low (leave_out.visual_quality)\n" in summary(run(source))
    edit_table(source, lambda rows: [{key: row[key] for key in row if key != "visual_quality"} for row in rows])
    assert "note: visual_quality is not known, so no photo is left out for it\n" in summary(run(source))
    assert "visual_quality" not in summary(run(source, "leave_out.visual_quality=[]", out="all"))


def test_a_filter_reads_metadata_whatever_attributes_says(photos, run):
    write(photos / "metadata.jsonl", lines(range(11)) + lines([11], visual_quality="Low"))
    prepared = run(photos, "attributes=[shot_type]")
    assert prepared.record["counts"]["left_out"] == {"visual_quality is Low": 1}
