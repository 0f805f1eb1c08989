"""No cell of a CSV that the project writes is a formula, and every cell reads back as it was."""

import csv
import io

import pytest

from style_match.curation.rows import PersonNames, drop_rows
from style_match.data.dataset import write_rejected
from style_match.data.records import Faults, Rejected
from style_match.data.tables import read_table
from style_match.labeling.audit import agreement, write_audit
from style_match.labeling.outputs import Failure, write_failed
from style_match.utils.files import as_csv, read_cell

FORMULAS = (
    "=1+1",
    "=HYPERLINK(A1)",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1,2)",
    "@anna",
    "-anna",
    "\t=1",
    "\r=1",
    "\n=1",
    "\uff1d1+1",
    "'=1",
    "''=1",
)
TEXTS = ("anna", "'quoted'", "'", "", "a=b", "3-4", " =1")
NUMBERS = ("-0.5", "+3", "-1e-05", "-.5", "+821012345678")


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_written_as_text(text):
    (header, row) = cells(as_csv([text], [[text]]))
    assert header == row == [f"'{text}"]
    assert read_cell(row[0]) == text


@pytest.mark.parametrize("value", [*TEXTS, *NUMBERS, -0.5, -3, None])
def test_texts_and_numbers_stay_as_they_are(value):
    ((written, _),) = cells(as_csv(["a", "b"], [[value, ""]]))[1:]
    assert written == ("" if value is None else str(value))
    assert read_cell(written) == written


def test_a_table_reads_back(tmp_path):
    ids = [text for text in (*FORMULAS, *NUMBERS) if text == text.strip()]
    (tmp_path / "t.csv").write_text(as_csv(["=id", "b"], ([each, "x"] for each in ids)), encoding="utf-8", newline="")
    table = read_table(tmp_path, "t", (("=id",),), Faults(tmp_path, 5))
    assert table is not None and [record["=id"] for _, record in table.records()] == ids


def test_rows_of_an_id_like_a_formula_are_removed(tmp_path):
    path = tmp_path / "profiles.csv"
    path.write_text(as_csv(["profile_id", "image"], [["@anna", "=1.jpg"], ["@bea", "2.jpg"]]), encoding="utf-8")
    assert drop_rows(path, PersonNames(["@anna"], []).in_row, dry_run=False) == 1
    assert path.read_text(encoding="utf-8") == "profile_id,image\n'@bea,2.jpg\n"
    path.write_text(as_csv(["image", "status"], [["=1.jpg", "error"]]), encoding="utf-8")
    assert drop_rows(path, PersonNames([], ["=1.jpg"]).in_list, dry_run=False) == 1


def first_signs(path) -> set[str]:
    return {cell[:1] for row in cells(path.read_text(encoding="utf-8")) for cell in row}


def test_lists_for_people(tmp_path):
    write_failed(tmp_path, [Failure("=1.jpg", "error", "-the server said", 1)])
    assert cells((tmp_path / "failed.csv").read_text(encoding="utf-8"))[1] == [
        "'=1.jpg",
        "error",
        "'-the server said",
        "1",
    ]
    rejected = Rejected(kind="profile", id="@anna", file="+p.csv", row=2, reason="=no photo")

    class Folder:
        rejected = ()

    assert write_rejected(Folder(), tmp_path / "rejected.csv", more=(rejected,)) == 1  # type: ignore[arg-type]
    found = agreement(
        "style", ["a", "b"], ["b", "a"], ["a", "b"], num_missing=0, confidence=0.9, num_resamples=9, seed=0
    )
    write_audit(tmp_path, [found], title="t", confidence=0.9, dpi=20)
    assert not {"=", "+", "@", "-"} & (first_signs(tmp_path / "failed.csv") | first_signs(tmp_path / "rejected.csv"))
    assert cells((tmp_path / "audit" / "audit.csv").read_text(encoding="utf-8"))[1][7] == "-1.000000"  # kappa, a number
