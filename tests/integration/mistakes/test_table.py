"""table.md lists the cases."""

from tests.integration.mistakes import bench, table


def test_the_table_is_of_these_cases():
    """After a change of the cases, renew the table: `python -m tests.integration.mistakes.table`."""
    rows = table.FILE.read_text(encoding="utf-8").splitlines()[2:]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(bench.NAMED)
    assert [row.split(" | ")[-1] for row in rows] == [f"{case.code} |" for case in bench.CASES]
    for row, case in zip(rows, bench.CASES, strict=True):
        assert all(part.replace("|", "\\|") in row for part in case.says), case.name
