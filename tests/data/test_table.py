"""CSV and Parquet tables as people have them, and as they should not be."""

from pathlib import Path

import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from style_match.data.records import Faults
from style_match.data.tables import Table, read_table
from style_match.utils.errors import UserError
from style_match.utils.text import plain

from .conftest import write_csv


def read(folder: Path, *required: str) -> Table:
    faults = Faults(folder, max_shown=20)
    table = read_table(folder, "t", (required,), faults)
    faults.raise_if_any()
    assert table is not None
    return table


def rows(table: Table) -> list[tuple[int, dict[str, str]]]:
    return list(table.records())


def write(folder: Path, content: str | bytes) -> Path:
    (folder / "t.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_byte_order_mark_and_cells_over_lines(tmp_path: Path, mark: str, end: str) -> None:
    text = ["a,b", "한글,2", "", ' 3 ,"4', 'four, ""4"""', "5,6", ""]
    table = read(write(tmp_path, mark + end.join(text)), "a")
    assert table.header == ("a", "b")
    cells = [("한글", "2"), ("3", f'4{end}four, "4"'), ("5", "6")]
    assert rows(table) == [(row, {"a": a, "b": b}) for row, (a, b) in zip((2, 4, 6), cells, strict=True)]


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0\r", exclude_categories=["Cs"]), max_size=8)


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6).filter(lambda rows: any(plain(a + b) for a, b in rows)))
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]]) -> None:
    folder = tmp_path_factory.mktemp("csv")
    write_csv(folder / "t.csv", ("a", "b"), cells)
    assert [(record["a"], record["b"]) for _, record in read(folder).records()] == [
        (plain(one), plain(other)) for one, other in cells if plain(one) or plain(other)
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv: is empty"),
        ("\n\n", "t.csv: is empty"),
        ("a,b\n", "t.csv: has a header but no rows"),
        ("a,c\n1,2\n", "t.csv: no column 'b'; the columns are a, c"),
        ("a,B\n1,2\n", "t.csv: no column 'b' (did you mean 'B'?)"),
        ("a,b,a\n1,2,3\n", "t.csv, column a: occurs twice in the header"),
        (",a,b\n0,1,2\n", "t.csv: column 1 has no name; name or remove it (pandas"),
        ("a,b\n1,2,3\n", "t.csv, line 2: 3 cells under 2 columns; quote a cell that contains a comma"),
        ('a,b\n1,2\n"3,4\n5,6\n', "t.csv, line 3: is not CSV from here on (unexpected end of data); is a quote left"),
        ('a,b\n"1"x,2\n', "t.csv, line 2: is not CSV from here on"),
        ("a,b\n1,\0\n", "t.csv, line 2: contains a NUL byte"),
        (
            "a,b\n1,2\n이름,3\n".encode("cp949"),
            "t.csv, line 3: byte 0xc0 is not UTF-8; save it as UTF-8 (Excel: 'CSV UTF-8')",
        ),
        ("a,b\ncafé,2\n".encode("latin-1"), "t.csv, line 2: byte 0xe9 is not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "t.csv: is UTF-16, not UTF-8"),
        ("a,b\n1,2\n".encode("utf-16-le"), "t.csv, line 1: contains a NUL byte"),
        ("a,b\n1," + "x" * 200_000, "t.csv, line 2: is not CSV from here on (field larger than field limit"),
    ],
)
def test_what_a_csv_should_not_be(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError) as caught:
        read(write(tmp_path, content), "a", "b")
    assert message in str(caught.value)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_table_or_a_fault(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    try:
        table = read(write(folder, content))
    except UserError:
        return
    assert all(len(cells) == len(table.header) for _, cells in table.rows)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("T.CSV",), r"neither t\.csv nor t\.parquet is there \(did you mean 'T.CSV'\?\)"),
        (("profiles.csv",), r"t\.parquet is there; write one with a"),  # not what was meant
        (("t.csv", "t.parquet"), r"t\.csv and t\.parquet are both there; remove one"),
    ],
)
def test_no_table_or_two(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    for name in names:
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=message):
        read(tmp_path, "a")


def test_parquet(tmp_path: Path) -> None:
    columns = {
        "id": pyarrow.array([1, 2, None]),
        "name": pyarrow.array([" a ", None, "다"]).dictionary_encode(),
        "flag": [True, False, None],
        "share": [0.5, float("nan"), 2.0],
        "tags": [["x", "y"], [], None],
        "raw": pyarrow.array([b"p1", b"p2", None], pyarrow.binary()),
    }
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    table = read(tmp_path, "id", "name")
    assert table.place(3) == "row 3"
    assert rows(table) == [
        (1, {"id": "1", "name": "a", "flag": "true", "share": "0.5", "tags": '["x", "y"]', "raw": "p1"}),
        (2, {"id": "2", "name": "", "flag": "false", "share": "", "tags": "[]", "raw": "p2"}),
        (3, {"id": "", "name": "다", "flag": "", "share": "2.0", "tags": "", "raw": ""}),
    ]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + b"\0" * 200 + b"PAR1", b"a,b\n1,2\n", None])
def test_broken_parquet(tmp_path: Path, content: bytes | None) -> None:
    out_of_range = pyarrow.table({"a": pyarrow.array([2**58, 0], pyarrow.timestamp("ms"))})
    parquet.write_table(out_of_range, tmp_path / "t.parquet", version="2.6")
    if content is not None:
        (tmp_path / "t.parquet").write_bytes(content)
    with pytest.raises(UserError, match=r"t\.parquet: is not a readable Parquet file"):
        read(tmp_path, "a")
