"""A source of photos, and the step as a function."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from style_match import cli
from style_match.preparation.step import Prepared, prepare

from .sources import CLASSES, HEADER, jpeg, photo, write, write_table


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve labelled profiles, six of each class, one photo each."""
    root = tmp_path / "source"
    rows = []
    for number in range(12):
        write(root / f"photos/p{number}.jpg", jpeg(photo(number)))
        rows.append((f"p{number}", f"photos/p{number}.jpg", CLASSES[number % 2], "High"))
    write_table(root / "profiles.csv", HEADER, rows)
    return root


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Prepared]:
    """`run(source, "word=value", ...)` prepares into `out`, as the command line would."""

    def prepare_with(source: Path, *words: str, out: str = "out") -> Prepared:
        with initialize_config_dir(str(cli.conf_dir()), version_base=cli.VERSION_BASE):
            given = [f"source={source}", f"out={tmp_path / out}", "progress=false", "num_workers=1"]
            return prepare(compose("prepare", [*given, *words]))

    return prepare_with
