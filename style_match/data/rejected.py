"""rejected.csv: what a run left out and why."""

from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

from style_match.csvs import as_csv
from style_match.data.records import Rejected
from style_match.files import write_whole

if TYPE_CHECKING:
    from style_match.data.folder import DatasetFolder


def write_rejected(folder: "DatasetFolder", path: Path, *, more: tuple[Rejected, ...] = ()) -> int:
    """Writes kind, id, file, row, reason of `folder.rejected` and `more` (a split's); returns how many.

    The file is written even when nothing was rejected, so that an older one does not stay.
    """
    rejected = (*folder.rejected, *more)
    write_whole(path, as_csv([each.name for each in fields(Rejected)], map(astuple, rejected)))
    return len(rejected)
