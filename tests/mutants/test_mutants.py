"""mutants.toml fits the code as it is now."""

from pathlib import Path

import pytest

import style_match
from tests.mutants.run import Mutant, read_mutants

PACKAGE = Path(style_match.__file__).parent
TESTS = Path(__file__).parents[1]
MUTANTS = read_mutants()


def test_every_mutant_has_a_name_of_its_own():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 66


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_replaces_one_place_by_code_that_compiles(mutant: Mutant):
    text = (PACKAGE / mutant.file).read_text(encoding="utf-8")
    assert text.count(mutant.old) == 1
    assert mutant.new != mutant.old
    compile(text.replace(mutant.old, mutant.new), mutant.file, "exec")
    assert [path for path in mutant.tests if not (TESTS.parent / path).exists()] == []
