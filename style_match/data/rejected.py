"""rejected.csv: what a run left out and why."""

import csv
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

from style_match.data.records import Rejected

if TYPE_CHECKING:
    from style_match.data.folder import DatasetFolder


def write_rejected(folder: "DatasetFolder", path: Path, *, more: tuple[Rejected, ...] = ()) -> int:
    """Writes kind, id, file, row, reason of `folder.rejected` and `more` (a split's); returns how many.

    The file is written even when nothing was rejected, so that an older one does not stay.
    """
    rejected = (*folder.rejected, *more)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([each.name for each in fields(Rejected)])
        writer.writerows(astuple(each) for each in rejected)
    return len(rejected)
