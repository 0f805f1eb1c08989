"""Recipes and heads for couples as words of a command line, judged before the work."""

from pathlib import Path

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from style_match.cli import main, schema
from style_match.cli.plan import merge_run_config
from style_match.utils.errors import UserError
from tests.composed import composed

CONF = main.conf_dir()
RECIPES = sorted(path.stem for path in (CONF / "recipe").glob("*.yaml"))


SWEPT = OmegaConf.load(CONF / "experiment" / "recipes.yaml").hydra.sweeper.params.recipe.split(",")


def faults(*words: str) -> list[str]:
    made = composed("train", *words)
    return schema.faults(made, made, step="train")


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_is_sound_and_its_head_can_be_made(recipe):
    made = composed("train", f"recipe={recipe}")
    assert schema.faults(made, made) == []
    assert isinstance(instantiate(made.head)(in_dim=320), nn.Module)
    assert (recipe in SWEPT) is not made.prompt.metadata, "experiment=recipes compares all recipes of photos alone"


def test_the_papers_recipe_is_what_is_trained_without_a_word():
    assert composed("train") == composed("train", "recipe=paper")


def test_the_experiment_names_each_recipe_once():
    assert len(set(SWEPT)) == len(SWEPT) == len(RECIPES) - 2 and set(SWEPT) < set(RECIPES)


def with_head(head: str):
    made = composed("train", "data=demo_styles")
    made.head = OmegaConf.load(CONF / "head" / f"{head}.yaml")
    return schema.faults(made, made, step="train")


@pytest.mark.parametrize("head", ["cca", "ridge", "two_heads", "pair_lda", "lda_linear", "lda_mlp"])
def test_a_head_for_couples_is_refused_on_styles(head):
    (found,) = with_head(head)
    assert "needs couples, but data=demo_styles has classes. Use head=mlp" in found


@pytest.mark.parametrize("head", ["mlp", "linear", "whitened", "centred", "ensemble"])
def test_other_heads_serve_styles_too(head):
    assert with_head(head) == []


def test_a_part_deep_in_a_head_is_found():
    (found,) = faults(
        "data=demo_styles", "head=ensemble", "head.each._target_=style_match.models.head.two_heads.TwoHeads"
    )
    assert "style_match.models.head.two_heads.TwoHeads needs couples" in found


def test_csls_is_for_couples():
    (found,) = faults("data=demo_styles", "evaluation.csls_k=10")
    assert "evaluation.csls_k needs couples" in found


def test_the_parts_of_a_pooling_are_judged():
    for parts in ("[mean,eso]", "[]", "[mean,mean]"):
        (found,) = faults("pooling=both", f"pooling.parts={parts}")
        assert "pooling.parts" in found and "such as [mean,eos]" in found
    (found,) = faults("pooling=both", "pooling.parts=[mean,mean_image]", "prompt=metadata")
    assert "pooling=both needs image tokens" in found


def test_a_run_has_its_own_recipe(tmp_path: Path):
    made = composed("train")
    with pytest.raises(UserError, match="Drop recipe"):
        merge_run_config(made, made, ["recipe=paper"])
