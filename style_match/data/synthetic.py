"""Whether the people of a dataset folder are drawn, so that every number from it says so."""

import json
from pathlib import Path


def is_synthetic(root: Path) -> bool:
    """Whether a dataset folder, or the folder of its photos, is the demo's or was prepared from it."""
    for path in (root / "demo.json", root / "prepared.json", root.parent / "demo.json"):
        try:
            if json.loads(path.read_text(encoding="utf-8")).get("synthetic"):
                return True
        except (OSError, ValueError, AttributeError):
            continue  # no such file, or somebody else's of that name
    return False
