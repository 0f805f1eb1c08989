"""Each mistake on the command line, in this process; `make test` makes those that are answered in different ways."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import HEAVY, unimportable
from tests.integration.mistakes import bench
from tests.integration.mistakes.case import Case
from tests.integration.mistakes.conftest import good  # noqa: F401 - a fixture

REST = [case for case in bench.CASES if case.code and case.name not in bench.IN_MAKE_TEST]


@pytest.fixture(scope="class")
def early(good: Path) -> Iterator[Path]:  # noqa: F811
    """The good folder, while torch cannot be imported."""
    with unimportable(*HEAVY):
        yield good


class TestEarlyAnswers:
    @pytest.mark.parametrize("case", [case for case in REST if case.early], ids=lambda case: case.name)
    def test_an_early_answer(self, case: Case, early: Path, tmp_path: Path):
        folder = bench.build(case, early, tmp_path / case.name)
        bench.check_answer(case, bench.answer(case, folder), folder)


@pytest.mark.parametrize("case", [case for case in REST if not case.early], ids=lambda case: case.name)
def test_a_late_answer(case: Case, good: Path, tmp_path: Path):  # noqa: F811
    bench.check_late(case, good, tmp_path / case.name)


def test_a_run_that_filled_the_disk_goes_on_to_the_same_result(good: Path, tmp_path: Path):  # noqa: F811
    case = bench.NAMED["full_run"]
    folder = bench.build(case, good, tmp_path / "world")
    assert bench.answer(case, folder).returncode == 2
    gc.collect()  # the traceback of the mistake holds the run folder's lock, which a process that ends releases
    resumed = bench.type_words("train", "run=FOLDER/new", folder, **case.environment)
    fresh = bench.type_words("train", case.words.replace("FOLDER/new", "FOLDER/fresh"), folder, **case.environment)
    assert resumed.returncode == fresh.returncode == 0, resumed.stderr + fresh.stderr
    one, other = (json.loads((folder / name / "metrics.json").read_text()) for name in ("new", "fresh"))
    assert one == other
