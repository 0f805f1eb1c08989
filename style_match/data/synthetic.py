"""Whether the people of a dataset folder are drawn, so that every number from it says so."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

NOTE = "synthetic"  # of the labeler's ledger: its answers are about drawn photos


def is_synthetic(root: Path) -> bool:
    """Whether a dataset folder, or the folder of its photos, is the demo's, was prepared or labelled as such."""
    for path in (root / "demo.json", root / "prepared.json", root.parent / "demo.json"):
        try:
            if json.loads(path.read_text(encoding="utf-8")).get("synthetic"):
                return True
        except (OSError, ValueError, AttributeError):
            continue  # no such file, or somebody else's of that name
    return _is_noted(root / "labels.sqlite")


def _is_noted(ledger: Path) -> bool:
    if not ledger.is_file():
        return False
    for how in ("mode=ro", "immutable=1"):  # the second where the folder itself may not be written
        try:
            with closing(sqlite3.connect(f"{ledger.resolve().as_uri()}?{how}", uri=True)) as database:
                return database.execute("SELECT 1 FROM note WHERE name = ?", (NOTE,)).fetchone() is not None
        except sqlite3.Error:
            continue  # somebody else's of that name
    return False
