"""Recipes through the commands: a closed form is a run like any other."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.commands import QUICK

SMALL = ("data.num_couples=40", "trainer.max_epochs=2", "sampler.batch_size=8", *QUICK)


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="session")
def closed(once, run_step) -> Path:
    """A finished run of a head that is fitted without gradient steps; do not write into it."""
    words = ("recipe=combined", *SMALL)
    return once("closed_run", lambda folder: run_step("train", *words, f"hydra.run.dir={folder}"))


def test_a_closed_form_leaves_a_run_with_a_checkpoint(closed: Path):
    assert set(metrics(closed)) == {"chance", "frozen", "trained", "trained_minus_frozen", "val"}
    content = torch.load(closed / "checkpoints" / "best.ckpt", weights_only=True)
    assert content["epoch"] == 0 and "head.map" in content["state_dict"]
    assert (closed / "report.html").is_file()


def test_evaluate_repeats_it_and_a_run_goes_on_to_the_same(closed: Path, run_step, tmp_path: Path):
    run_step("evaluate", f"run={closed}", f"hydra.run.dir={tmp_path / 'same'}")
    assert metrics(tmp_path / "same") == metrics(closed)
    run = shutil.copytree(closed, tmp_path / "run")
    run_step("train", f"run={run}", "ckpt_path=last")
    before, after = (load_file(folder / "embeddings.safetensors") for folder in (closed, run))
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize(
    "recipe",
    [
        "lda_mlp",  # a closed form, then gradient steps
        *(pytest.param(name, marks=pytest.mark.thorough) for name in ("cca", "ridge", "two_heads", "ensemble", "csls")),
    ],
)
def test_a_recipe_runs_and_comes_back(run_step, tmp_path: Path, recipe: str):
    folder = tmp_path / recipe
    run_step("train", f"recipe={recipe}", *SMALL, f"hydra.run.dir={folder}")
    run_step("evaluate", f"run={folder}", f"hydra.run.dir={tmp_path / 'again'}")
    assert metrics(tmp_path / "again") == metrics(folder)


def test_what_cannot_be_is_answered_at_once(run_step):
    assert "needs couples" in run_step("train", "data=demo_styles", "recipe=pair_lda", code=2).stderr
    done = run_step("train", "data.num_couples=40", "sampler.batch_size=8", "evaluation.csls_k=1000", code=2)
    assert "evaluation.csls_k=1000 exceeds the 28 profiles" in done.stderr and "features:" not in done.stderr
