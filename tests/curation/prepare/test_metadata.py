"""Labels that are joined from metadata.jsonl."""

import json
from pathlib import Path

import pytest

from style_match.labeling.ledger import Ledger
from style_match.labeling.outputs import write_dry_run
from style_match.synthetic.dataset import NOTE
from style_match.utils.errors import UserError

from .sources import CLASSES, files_of, jpeg, photo, read_rows, write


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve photos without a table, and what a labeler says of each."""
    root = tmp_path / "photos_alone"
    for number in range(12):
        write(root / f"{number}.jpg", jpeg(photo(number)))
    write(root / "metadata.jsonl", lines(range(12)))
    return root


def lines(numbers, **changed) -> str:
    said = (
        {
            "image": f"{number}.jpg",
            "fashion_style": CLASSES[number % 2],
            "shot_type": "Others_Cam",
            "visual_quality": "High",
            "caption": f"사진 {number}",
            **changed,
        }
        for number in numbers
    )
    return "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in said)


def test_a_folder_of_photos_gets_its_labels_and_keeps_its_metadata(photos, run):
    out = run(photos).folder.root
    row = read_rows(out)[1]
    assert (row["profile_id"], row["fashion_style"], row["shot_type"]) == ("1", "Street", "Others_Cam")
    first = json.loads((out / "metadata.jsonl").read_text(encoding="utf-8").splitlines()[0])
    assert first["image"] == row["image"].replace("1.", "0.") and first["caption"] == "사진 0"


def test_metadata_may_lie_elsewhere(photos, run, tmp_path: Path):
    text = (photos / "metadata.jsonl").read_text(encoding="utf-8")
    (photos / "metadata.jsonl").unlink()
    file = write(tmp_path / "labels/metadata.jsonl", text)
    assert run(photos, "kind=tables", f"metadata={file}").record["counts"]["kept"] == 12


def test_pictures_of_the_labeler_are_no_profiles(photos, run):
    write(photos / "failed.csv", b"")
    write(photos / "audit/confusion.png", jpeg(photo(50)))
    with Ledger(photos) as ledger:
        write_dry_run(photos, ledger, jpeg(photo(51)))
    assert run(photos).record["counts"]["photos"] == 12


def test_every_fault_of_the_metadata_is_named(photos, run):
    bad = lines([0, 0]) + '{"image": "1.jpg", \n' + lines([77]) + lines([2, 3, 4], fashion_style="Strete") + lines([5])
    write(photos / "metadata.jsonl", bad)
    with pytest.raises(UserError) as error:
        run(photos, "schema=style")
    for part in ("line 2", "line 3", "broken JSON", "line 4", "'77.jpg'"):
        assert part in str(error.value)


def test_each_line_outside_the_classes_is_named(photos, run):
    said = lines(range(6), fashion_style="Strete") + lines(range(6, 12), fashion_style="Street_Hip", caption=3)
    write(photos / "metadata.jsonl", said.replace('"High"', "7", 1))
    with pytest.raises(UserError) as error:
        run(photos, "schema=style", "max_faults_shown=5")
    title, *faults = str(error.value).splitlines()
    assert title.startswith("7 faults") and faults[-1] == "  ... and 2 more"
    assert faults[0].startswith("  metadata.jsonl, line 1: visual_quality of 0.jpg is 7, not a text")
    for number, fault in enumerate(faults[1:-1], start=1):
        where = f"  metadata.jsonl, line {number}: fashion_style of {number - 1}.jpg: 'Strete' is none of "
        assert fault.startswith(where) and "(did you mean 'Street_Hip'?)" in fault


def test_a_table_outside_the_classes_is_named_row_by_row(source, run):
    with pytest.raises(UserError) as error:
        run(source, "classes=[Chic,Artsy]")
    assert "profiles.csv, line 3, column fashion_style: 'Street' is none of Chic, Artsy" in str(error.value)
    assert str(error.value).startswith("6 faults")


def test_files_that_are_read_or_the_labelers_are_not_passed_over(photos, run):
    for name in ("labels.sqlite", "failed.csv", "couples.txt"):
        write(photos / name, b"")
    assert run(photos).source.notes == ("1 file that is no photo is passed over",)
    write(photos / "notes.txt", b"")
    assert run(photos).source.notes == ("2 files that are no photos are passed over",)


def test_a_labeler_that_says_its_photos_are_drawn_is_believed(photos, run):
    with Ledger(photos) as ledger:
        ledger.note(NOTE, "true")
    assert run(photos).record["synthetic"] is True


def test_a_table_that_says_otherwise_is_named(source, run):
    said = "".join(json.dumps({"image": f"photos/p{n}.jpg", "fashion_style": "Chic"}) + "\n" for n in range(2))
    write(source / "metadata.jsonl", said)
    with pytest.raises(UserError, match=r"line 3, column fashion_style: 'Street' here, but 'Chic' in metadata.jsonl"):
        run(source)


def test_photos_without_a_label_are_an_error_unless_they_may_be_left_out(photos, run):
    write(photos / "metadata.jsonl", lines(range(10)))
    with pytest.raises(UserError, match=r"(?s)2 of 12 photos have no fashion_style.*unlabelled=true.*10.jpg.*11.jpg"):
        run(photos)
    prepared = run(photos, "leave_out.unlabelled=true")
    assert prepared.record["counts"]["left_out"] == {"no fashion_style": 2}
    assert [row["profile_id"] for row in read_rows(prepared.folder.root) if row["left_out"]] == ["10", "11"]


def test_the_schema_names_classes_that_nobody_has_yet(photos, run):
    write(
        photos / "metadata.jsonl",
        lines(range(6), fashion_style="Street_Hip") + lines(range(6, 12), fashion_style="Chic_Modern"),
    )
    out = run(photos, "schema=style").folder.root
    assert len(json.loads((out / "classes.json").read_text())["classes"]) == 5


def test_two_files_with_one_id_are_both_named(photos, run):
    write(photos / "more/3.png", jpeg(photo(60)))
    with pytest.raises(UserError, match=r"more/3.png and 3.jpg have one id, '3'; rename one, or .* ids=path"):
        run(photos, "leave_out.unlabelled=true")
    out = run(photos, "leave_out.unlabelled=true", "ids=path").folder.root
    assert any(name.startswith("photos/more_3-") for name in files_of(out))


def test_a_class_that_no_photo_has_is_asked_for_by_its_name(photos, run):
    with pytest.raises(UserError, match=r"no photo has a fashion_stile \(did you mean 'fashion_style'\?\)"):
        run(photos, "label=fashion_stile")


def test_the_class_may_be_another_attribute(photos, run):
    write(photos / "metadata.jsonl", lines(range(6), season="여름") + lines(range(6, 12), season="겨울"))
    prepared = run(photos, "label=season")
    assert prepared.record["classes"] == ["겨울", "여름"]
