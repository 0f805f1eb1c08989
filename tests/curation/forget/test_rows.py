"""Only the rows of the person leave a table, whatever the others hold."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from style_match.curation.rows import PersonNames, drop_rows

CELL = st.text(alphabet="abn0-,;\"\n\té=' ", max_size=6)
ROWS = st.lists(st.tuples(st.sampled_from(["anna", "anna-2", "@bob", ""]), CELL, CELL), max_size=8)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(ROWS, st.sampled_from(",;\t"), st.sampled_from(["\n", "\r\n"]), st.sampled_from(["", "\ufeff"]))
def test_other_rows_stay_byte_for_byte(tmp_path: Path, rows, separator: str, end: str, bom: str) -> None:
    def text_of(rows) -> str:
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=separator, lineterminator=end).writerows([("profile_id", "note", "more"), *rows])
        return bom + file.getvalue()

    path = tmp_path / "table.csv"
    path.write_bytes(text_of(rows).encode())
    others = [row for row in rows if row[0] not in ("anna", "@bob")]
    for dry_run in (True, False):
        assert drop_rows(path, PersonNames(["anna", "@bob"], []).in_row, dry_run=dry_run) == len(rows) - len(others)
    assert path.read_bytes().decode() == text_of(others)


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        *(("ann", False), ("anna", True), ("anna-2", False), ("joanna", False), ("see anna.", True), ("a/anna", True)),
        *(("<b>O&#x27;Neil &amp; co</b>", True), ('"O\'Neil & co"', True), ("\\u00e9va", True), ("e\u0301va", True)),
        *(("p/anna.png", True), ("p/annas.png", False)),
    ],
)
def test_mentions_are_whole_words_in_any_writing(text: str, is_found: bool) -> None:
    assert PersonNames(["anna", "O'Neil & co", "éva"], ["p/anna.png"]).in_text(text) is is_found


def test_an_empty_name_is_nobody() -> None:
    lines = PersonNames(["anna"], [""])
    assert not lines.in_row({"profile_id": "bea", "image": ""}) and not lines.in_list({"image": "", "reason": "x"})
