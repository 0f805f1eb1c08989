"""The numbers of small runs are those that are stored: no change of the code moves one unseen."""

from pathlib import Path

import pytest

from tests.contract import observe

STORED = observe.golden("numbers")


def check(run: Path, name: str) -> None:
    found = observe.stored_numbers(name, run)
    assert set(found) == set(STORED[name])
    for model, values in STORED[name].items():
        assert found[model] == pytest.approx(values, abs=observe.CLOSE), model


@pytest.mark.integration
def test_couples(couples_run: Path):
    check(couples_run, "couples")


@pytest.mark.integration
def test_styles(styles_run: Path):
    check(styles_run, "styles")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.integration) for name in observe.OTHER_RUNS),
        *(pytest.param(name, marks=pytest.mark.thorough) for name in observe.THOROUGH_RUNS),
    ],
)
def test_another_run(run_step, tmp_path: Path, name: str):
    words = {**observe.OTHER_RUNS, **observe.THOROUGH_RUNS}[name]
    run_step("train", *words, f"hydra.run.dir={tmp_path}")
    check(tmp_path, name)


def test_all_that_is_stored_is_compared():
    assert set(STORED) == {"couples", "styles", *observe.OTHER_RUNS, *observe.THOROUGH_RUNS}
