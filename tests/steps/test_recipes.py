"""Recipes through the commands: a closed form is a run like any other."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

SMALL = ("data.num_couples=80", "trainer.max_epochs=3", "sampler.batch_size=16")


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def closed(step, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("recipes") / "closed"
    step("train", "recipe=combined", *SMALL, f"hydra.run.dir={folder}")
    return folder


def test_a_closed_form_leaves_a_run_with_a_checkpoint(closed: Path):
    assert set(metrics(closed)) == {"chance", "frozen", "trained", "val"}
    content = torch.load(closed / "checkpoints" / "best.ckpt", weights_only=True)
    assert content["epoch"] == 0 and "head.map" in content["state_dict"]
    assert (closed / "report.html").is_file()


def test_evaluate_repeats_it_and_a_run_goes_on_to_the_same(closed: Path, step, tmp_path: Path):
    step("evaluate", f"run={closed}", f"hydra.run.dir={tmp_path / 'same'}")
    assert metrics(tmp_path / "same") == metrics(closed)
    before = load_file(closed / "embeddings.safetensors")
    step("train", f"run={closed}", "ckpt_path=last")
    after = load_file(closed / "embeddings.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("recipe", ["cca", "ridge", "two_heads", "lda_mlp", "ensemble", "csls"])
def test_a_recipe_runs_and_comes_back(step, tmp_path: Path, recipe: str):
    folder = tmp_path / recipe
    step("train", f"recipe={recipe}", *SMALL, f"hydra.run.dir={folder}")
    step("evaluate", f"run={folder}", f"hydra.run.dir={tmp_path / 'again'}")
    assert metrics(tmp_path / "again") == metrics(folder)


def test_a_composed_pooling_costs_no_backbone(closed: Path, step, tmp_path: Path):
    words = ("backbone.layer=2", "data.num_couples=80")
    done = step("evaluate", *words, "pooling=eos", f"hydra.run.dir={tmp_path / 'eos'}")
    assert "160 of 160 from the store" in done.stderr and "computed" not in done.stderr


def test_what_cannot_be_is_answered_at_once(step):
    assert "needs couples" in step("train", "data=demo_styles", "recipe=pair_lda", code=2).stderr
    done = step("train", *SMALL, "evaluation.csls_k=1000", code=2)
    assert "evaluation.csls_k=1000 is above the 56 profiles" in done.stderr and "features:" not in done.stderr
