"""No word of leave_out does nothing in silence."""

import json

import pytest

from style_match.curation.prepare import summary
from style_match.utils.errors import UserError

from .sources import HEADER, read_rows, write, write_table


@pytest.fixture
def qualities(source):
    """p0 is Low, p1 Medium, all others High."""
    rows = read_rows(source)
    for row, quality in zip(rows, ("Low", "Medium"), strict=False):
        row["visual_quality"] = quality
    write_table(source / "profiles.csv", HEADER, [list(row.values()) for row in rows])
    return source


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("leave_out.visual_quality=[Lo]", r"leave_out.visual_quality=Lo: no photo is that \(did you mean 'Low'\?\)"),
        ("leave_out.visual_quality=[low]", r"did you mean 'Low'\?\); known are High, Low, Medium"),
        ("+leave_out.visual_qualty=[Low]", r"leave_out.visual_qualty: is no column .* \(did you mean 'visual_quality'"),
        ("+leave_out.shot_type=[Others_Cam]", r"leave_out.shot_type: is no column of the table and no attribute"),
        ("+leave_out.fashion_style=Chic", r"write a list, such as leave_out.fashion_style=\[Chic\]"),
    ],
)
def test_words_that_would_do_nothing_are_refused(word, said, qualities, run):
    with pytest.raises(UserError, match=said):
        run(qualities, word)


def test_what_the_schema_knows_and_no_photo_has_is_said(qualities, run):
    prepared = run(qualities, "leave_out.visual_quality=[Medium,Low]")
    assert prepared.record["counts"]["left_out"] == {"visual_quality is Low": 1, "visual_quality is Medium": 1}
    assert not prepared.notes


def test_the_usual_value_that_no_photo_has(source, run):
    assert "note: no photo is Low (leave_out.visual_quality)\n" in summary(run(source))


def test_the_usual_filter_without_its_column(source, run):
    rows = [list(row.values())[:3] for row in read_rows(source)]
    write_table(source / "profiles.csv", HEADER[:3], rows)
    assert "note: visual_quality is not known, so nobody is left out for it\n" in summary(run(source))
    assert "visual_quality" not in summary(run(source, "leave_out.visual_quality=[]", out="kept"))


def test_a_filter_reads_metadata_whatever_attributes_says(source, run):
    rows = [list(row.values())[:3] for row in read_rows(source)]
    write_table(source / "profiles.csv", HEADER[:3], rows)
    said = [{"image": row[1], "visual_quality": "Low" if row[0] == "p2" else "High"} for row in rows]
    write(source / "metadata.jsonl", "".join(json.dumps(each) + "\n" for each in said))
    prepared = run(source, "attributes=[nope]")
    assert prepared.record["counts"]["left_out"] == {"visual_quality is Low": 1}
    assert "note: attributes: no photo has nope\n" in summary(prepared)
