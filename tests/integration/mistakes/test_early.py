"""Mistakes that are answered before torch is imported: one message, exit code 2.

Each case is made on the command line by `tests/thorough/test_mistakes.py`; here only those that differ in how they
are answered. Of the others, mistyped words are in `tests/cli`, and faults of the data are found here without Hydra.
"""

import importlib
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import HEAVY, unimportable
from tests.composed import composed
from tests.integration.mistakes import bench
from tests.integration.mistakes.case import Case
from tests.integration.mistakes.cases import BACKBONES
from tests.integration.mistakes.data_cases import PHOTOS, TABLES

COMMANDS = [bench.NAMED[name] for name in bench.EARLY_COMMANDS]
OF_DATA = [case for case in [*TABLES, *PHOTOS, *BACKBONES] if case.early and case.name != "no_root"]


@pytest.fixture(scope="module")
def early(good: Path) -> Iterator[Path]:
    """The good folder, while torch cannot be imported."""
    with unimportable(*HEAVY):
        yield good


@pytest.mark.parametrize("case", COMMANDS, ids=lambda case: case.name)
def test_a_mistake_is_answered_in_one_message(case: Case, early: Path, tmp_path: Path):
    folder = bench.build(case, early, tmp_path / case.name)
    bench.check_answer(case, bench.answer(case, folder), folder)


def check_data(case: Case, folder: Path, more: str = "") -> None:
    """Read and check the dataset folder as the case's command does before it imports torch."""
    words = shlex.split(f"{case.words} {more}".replace("FOLDER", str(folder)))
    module = importlib.import_module("style_match.backbone.inputs")  # as it is imported without torch
    module.Inputs(composed(case.step, "progress=false", *words)).check()


@pytest.mark.parametrize("case", OF_DATA, ids=lambda case: case.name)
def test_a_fault_of_the_data_is_found_in_one_message(case: Case, early: Path, tmp_path: Path):
    folder = bench.build(case, early, tmp_path / case.name)
    with pytest.raises(importlib.import_module("style_match.utils.errors").UserError) as caught:
        check_data(case, folder)
    text = bench.shown(str(caught.value), folder)
    assert not [part for part in case.says if part not in text], text
    assert text.count(case.says[0]) == 1


@pytest.mark.parametrize("case", [*TABLES, *PHOTOS], ids=lambda case: case.name)
def test_each_remedy_of_a_message_about_data_works(case: Case, early: Path, tmp_path: Path):
    assert case.remedies
    for number, remedy in enumerate(case.remedies):
        folder = bench.build(case, early, tmp_path / str(number))
        if callable(remedy):
            remedy(folder)
        check_data(case, folder, "" if callable(remedy) else remedy)
