"""A source of photos, and the step as a function."""

from collections.abc import Callable
from pathlib import Path

import pytest

from style_match.curation.prepare import Prepared, prepare
from tests.composed import composed

from .sources import write_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve labelled profiles, six of each class, one photo each."""
    return write_source(tmp_path / "source")


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Prepared]:
    """`run(source, "option=value", ...)` prepares into `out` with these options."""

    def prepare_with(source: Path, *options: str, out: str = "out") -> Prepared:
        defaults = [f"source={source}", f"out={tmp_path / out}", "progress=false", "num_workers=1"]
        return prepare(composed("prepare", *defaults, *options))

    return prepare_with
