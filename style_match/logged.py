"""What a run logged epoch by epoch, read back from its metrics.csv."""

import csv
from collections.abc import Iterator
from pathlib import Path


def logged_rows(folder: Path) -> Iterator[dict[str, str]]:
    """The rows of metrics.csv in a run folder, those of a run that went on after those before.

    An epoch that was logged twice, before a run was killed and after it went on, comes twice: the later one counts.
    """
    for path in sorted(folder.glob("csv/version_*/metrics.csv"), key=lambda path: int(path.parent.name.split("_")[1])):
        with open(path, newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
