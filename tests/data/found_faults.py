"""What reading a folder complains about, for the tests of its validation."""

from pathlib import Path

import pytest

from style_match.data.dataset import read_folder
from style_match.utils.errors import UserError


def message(root: Path, task: str = "couple", **options: object) -> str:
    with pytest.raises(UserError) as caught:
        read_folder(root, task=task, **options)  # type: ignore[arg-type]
    return str(caught.value)


def faults(root: Path, task: str = "couple", **options: object) -> list[str]:
    title, *lines = message(root, task, **options).split("\n  ")
    assert title.endswith(f"in the dataset folder {root}:")
    return lines
