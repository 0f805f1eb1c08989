"""The `split` column of a table, where the user divides the data."""

from style_match.data.faults import Faults, nearest
from style_match.data.records import SPLITS
from style_match.data.table import Table
from style_match.spelling import shown


def read_given_splits(table: Table, faults: Faults, *, all_three: bool) -> dict[int, str] | None:
    """Row number to split; None when no row names one, or when what they name is at fault.

    With `all_three` each of train, val and test must have a row.
    """
    if "split" not in table.header:
        return None
    name, before = table.path.name, len(faults)
    cells = {row: record["split"] for row, record in table.records()}
    if not any(cells.values()):
        return None
    for row, word in cells.items():
        if not word:
            faults.add(
                "the cell is missing but other rows name a split; fill in every row or leave the column out",
                file=name,
                place=table.place(row),
                column="split",
            )
        elif word not in SPLITS:
            what = f"{shown(word)} is none of {', '.join(SPLITS)}{nearest(word, SPLITS)}"
            faults.add(what, file=name, place=table.place(row), column="split")
    if len(faults) == before and all_three:
        for split in SPLITS:
            if split not in cells.values():
                faults.add(f"no row is in split {shown(split)}; each split needs rows", file=name, column="split")
    return cells if len(faults) == before else None
