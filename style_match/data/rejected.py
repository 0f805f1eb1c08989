"""rejected.csv: what a run left out and why."""

import csv
import io
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING

from style_match.data.records import Rejected
from style_match.files import write_whole

if TYPE_CHECKING:
    from style_match.data.folder import DatasetFolder


def write_rejected(folder: "DatasetFolder", path: Path, *, more: tuple[Rejected, ...] = ()) -> int:
    """Writes kind, id, file, row, reason of `folder.rejected` and `more` (a split's); returns how many.

    The file is written even when nothing was rejected, so that an older one does not stay.
    """
    rejected = (*folder.rejected, *more)
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow([each.name for each in fields(Rejected)])
    writer.writerows(astuple(each) for each in rejected)
    write_whole(path, content.getvalue())
    return len(rejected)
