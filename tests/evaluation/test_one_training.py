"""A difference of a single training says so, wherever it is shown."""

import pytest

from style_match.evaluation.tables import one_training
from style_match.training.evaluate import hypothesis
from tests.commands import SMALL_COUPLES

pytestmark = [pytest.mark.integration, pytest.mark.slow]


def test_words():
    assert one_training(7) == "one training, seed 7" and one_training(None) == "one training"
    said = hypothesis({"value": 0.06, "ci95": [0.05, 0.07]}, 0.055, seed=3)
    assert "A head of another task on this one (one training, seed 3): MRR minus chance +0.5 points" in said


def test_train_and_evaluate_name_the_seed_of_the_training(run_step, tmp_path):
    run = tmp_path / "run"
    trained = run_step("train", *SMALL_COUPLES, "seed=7", f"hydra.run.dir={run}")
    evaluated = run_step("evaluate", f"run={run}", f"hydra.run.dir={tmp_path / 'again'}")
    for printed, folder in ((trained.stdout, run), (evaluated.stdout, tmp_path / "again")):
        (line,) = [line for line in printed.splitlines() if line.startswith("Trained minus frozen")]
        assert line.startswith("Trained minus frozen (one training, seed 7): R@5 ")
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert "trained minus frozen <small>one training, seed 7</small>" in page
