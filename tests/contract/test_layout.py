"""Files, keys, columns and tensors of a run folder and of a matcher folder."""

from pathlib import Path
from typing import Any

import pytest

from tests.contract import observe

pytestmark = pytest.mark.integration
STORED = observe.golden("layout")


def check(found: dict[str, Any], name: str) -> None:
    assert set(found) == set(STORED[name])
    for file, layout in STORED[name].items():
        assert found[file] == layout, file


def test_a_run_of_couples(couples_run: Path):
    check(observe.run_layout(couples_run), "couples")


def test_a_run_of_styles(styles_run: Path):
    check(observe.run_layout(styles_run), "styles")


def test_a_matcher_folder(matcher_folder: Path):
    check(observe.matcher_layout(matcher_folder), "matcher")
