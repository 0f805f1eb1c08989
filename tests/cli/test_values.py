"""Values that cannot be meant, answered before the work begins and all together."""

from copy import deepcopy

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from style_match.cli import main, schema
from style_match.utils.errors import UserError

GROUPS = ("data=", "loss=", "sampler=", "head=", "backbone=", "logger=", "pooling=", "prompt=")


@pytest.fixture(scope="module")
def faults():
    """Faults of a command line of plain overrides, as `check.faults` finds them."""
    composed = {}

    def of(words: list[str], step: str = "train") -> list[str]:
        choices = tuple(word for word in words if "." not in word.partition("=")[0] and word.startswith(GROUPS))
        if (step, choices) not in composed:
            with initialize_config_dir(str(main.conf_dir()), version_base="1.3"):
                composed[step, choices] = compose(step, list(choices), return_hydra_config=True)
        base = composed[step, choices]
        config = deepcopy(base)
        for override in OverridesParser.create().parse_overrides([word for word in words if word not in choices]):
            OmegaConf.update(config, override.key_or_group, override.value(), force_add=override.is_add())
        return schema.faults(config, base, step=step)

    return of


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["head.dim=0"], "head.dim=0: Write a whole number of at least 1."),
        (["head.dim=abc"], "head.dim=abc: Write a whole number"),
        (["head.dim=2.5"], "head.dim=2.5: Write a whole number"),
        (["head.dim=true"], "head.dim=true: Write a whole number"),
        (["head.dim=null"], "head.dim=null: Write a whole number"),
        (["head.bias=5"], "head.bias=5: Write true or false"),
        (["loss.temperature=-0.1"], "loss.temperature=-0.1: Write a number above 0"),
        (["loss.temperature=0"], "loss.temperature=0: Write a number above 0"),
        (["loss.temperature=nan"], "loss.temperature=nan: Write a number above 0"),
        (["loss=triplet", "loss.margin=0"], "loss.margin=0"),
        (["loss=triplet", "loss.reducer=avg_nonzero"], "Did you mean loss.reducer=avg_non_zero?"),
        (["split.fractions=[0.7,0.2,0.2]"], "sum to 1"),
        (["split.fractions=[0.85,0.15]"], "three numbers"),
        (["split.fractions=[1,0,0]"], "above 0"),
        (["evaluation.ks=[0,5]"], "evaluation.ks=[0,5]: Write a list of different whole numbers"),
        (["evaluation.ks=[5,5]"], "different"),
        (["evaluation.ks=5"], "such as [1,5,10]"),
        (["encode=onlin"], "Did you mean encode=online? Write cached or online."),
        (["data.on_bad_image=exclud"], "Did you mean data.on_bad_image=exclude?"),
        (["seed=null"], "seed=null: Write a whole number"),
        (["seed=-1"], "seed=-1"),
        (["split.seed=-1"], "split.seed=-1"),
        (["split.folds=1", "split.fold=0"], "split.folds=1: Write a whole number of at least 2, or null."),
        (["split.folds=5", "split.fold=-1"], "split.fold=-1: Write a whole number of at least 0, or null."),
        (["split.folds=5", "split.fold=5"], "split.fold=5: there are split.folds=5; write one from 0 to 4."),
        (["split.folds=5"], "split.folds=5: which one? Write split.fold=0 to 4 too."),
        (["split.fold=0"], "split.fold=0: of how many? Write split.folds=5 too."),
        (["sampler.batch_size=1"], "sampler.batch_size=1: Write a whole number of at least 2"),
        (["data=demo_styles", "sampler.num_samples=1"], "sampler.num_samples=1"),
        (["backbone.max_pixels=0"], "backbone.max_pixels=0"),
        (
            ["backbone.min_pixels=200", "backbone.max_pixels=100"],
            "backbone.min_pixels=200 is above backbone.max_pixels=100",
        ),
        (["backbone.dtype=fp8"], "backbone.dtype=fp8:"),
        (["backbone.device=gpu0"], "backbone.device=gpu0"),
        (["optimizer.lr=-1"], "optimizer.lr=-1"),
        (["optimizer.fused=yes"], "optimizer.fused=yes: Write true or false, or null"),
        (["trainer.precision=16-mixed"], "write optimizer.fused=false too"),
        (["trainer.max_epochs=0"], "trainer.max_epochs=0"),
        (["+trainer.num_nodes=2"], "trainer.num_nodes: style_match decides it (a head is trained on one machine)."),
        (["+trainer.gradient_clip_algorithm=value"], "trainer.gradient_clip_algorithm: style_match decides it"),
        (["trainer.devices=0"], "trainer.devices=0: Write a whole number of at least 1."),
        (["trainer.devices=auto"], "trainer.devices=auto: Write a whole number of at least 1."),
        (["trainer.strategy=fsdp"], "trainer.strategy=fsdp: Write auto or ddp."),
        (["trainer.early_stopping=5"], "trainer.early_stopping=5: Write its options one by one"),
        (["logger=wandb", "logger.wandb.mode=off"], "Did you mean logger.wandb.mode=offline?"),
        (["debug=yess"], "debug=yess: Write true or false"),
        (["data=couples"], "data.root is needed by data=couples: write data.root=FOLDER"),
        (
            ["data=demo_styles", "sampler=pair"],
            "sampler=pair draws couples, but data=demo_styles holds classes: write sampler=pk",
        ),
        (["sampler=pk"], "sampler=pk draws classes, but data=demo_couples holds couples: write sampler=pair"),
        (["pooling=mean_image", "prompt=metadata"], "pooling=mean_image has no image to look at with prompt=metadata"),
        (["ckpt_path=last"], "Write run=FOLDER too"),
        (["head.dim=${los.dim}"], "head.dim=${los.dim}"),
    ],
)
def test_a_value_that_cannot_be_meant(faults, words, said):
    found = faults(words)
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.parametrize("step", ["train", "embed", "evaluate"])
def test_the_values_that_come_with_the_configs_hold(faults, step):
    assert faults([], step) == []
    assert faults(["data=demo_styles"], step) == []
    assert faults(["data=styles", "data.root=/somewhere"], step) == []
    if step == "train":
        assert faults(["logger=wandb", "trainer.devices=2", "trainer.strategy=ddp"]) == []
        assert faults(["trainer.early_stopping=null", "trainer.gradient_clip_val=null", "evaluation.ks=[1]"]) == []


@pytest.mark.parametrize("share", ["0/4", "5/4", "a/b", "1/0", "2", "0.5"])
def test_a_share_that_is_none(faults, share):
    wanted = "Write which share of how many, such as 1/4 to 4/4 for four, or null."
    assert faults([f"share={share}"], "embed") == [f"share={share}: {wanted}"]
    assert faults(["share=4/4"], "embed") == faults(["share=null"], "embed") == []


def test_evaluating_a_head_needs_a_run(faults):
    (found,) = faults(["head=mlp"], "evaluate")
    assert "run=FOLDER, or head=identity" in found


def test_values_are_judged_before_the_work(step):
    assert step("head.dim=0", "data=couples") == 2
    assert step.configs == []
    assert step.err.splitlines() == [
        "head.dim=0: Write a whole number of at least 1.",
        "data.root is needed by data=couples: write data.root=FOLDER",
    ]


def test_all_faults_together(step):
    assert step("head.dim=0", "loss.temperature=-1", "evaluation.ks=[0]", "encode=onlin", "seed=null") == 2
    assert len(step.err.splitlines()) == 5


def test_the_same_fault_of_many_cells_is_said_once(step):
    assert step("-m", "head.dim=0", "seed=0,1,2") == 2
    assert len(step.err.splitlines()) == 1


def test_an_option_without_a_rule_keeps_the_kind_of_its_yaml():
    base = OmegaConf.create({"loss": {"_target_": "mine.Loss", "power": 2, "scale": 0.5, "hard": True, "parts": [1]}})
    for wrong in ({"power": "x"}, {"power": True}, {"scale": "x"}, {"hard": 1}, {"parts": 3}, {"scale": None}):
        with pytest.raises(UserError, match=f"loss.{next(iter(wrong))}"):
            schema.check(OmegaConf.merge(base, {"loss": wrong}), base)
    schema.check(OmegaConf.merge(base, {"loss": {"power": 3, "scale": 1, "hard": False, "parts": []}}), base)


@given(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3))
def test_fractions_hold_when_they_sum_to_one(parts):
    whole = sum(parts)
    config = {"split": {"fractions": [part / whole for part in parts]}}
    assert schema.faults(OmegaConf.create(config)) == []
    config["split"]["fractions"][0] += 0.01
    assert len(schema.faults(OmegaConf.create(config))) == 1


@given(st.one_of(st.integers(), st.floats(), st.text("abc", max_size=3), st.booleans(), st.none()))
def test_a_width_is_a_whole_number_of_at_least_one(value):
    good = type(value) is int and 1 <= value <= 2**16
    assert (schema.faults(OmegaConf.create({"head": {"dim": value}})) == []) is good
