"""Keys and choices that do not exist, and those of the contract."""

import pytest
from omegaconf import OmegaConf

from style_match.cli.words import Composer

pytestmark = pytest.mark.integration


def test_unknown_words_get_the_nearest_right_ones(step):
    """All are answered together, a line each."""
    answers = {
        "head.dmi=3": ["head=mlp has no option dmi", "Did you mean head.dim=3?"],
        "los=triplet": ['unknown option or group "los"', "Did you mean loss=triplet?", "--help"],
        "model=triplet": ["Did you mean loss=triplet?"],
        "lr=0.1": ["Did you mean optimizer.lr=0.1?"],
        "optimiser.lr=0.1": ["Did you mean optimizer.lr=0.1?"],
        "split.sed=1": ['unknown option or group "split.sed"', "Did you mean split.seed=1?"],
        "trainer.early_stopping.patienc=1": ["Did you mean trainer.early_stopping.patience=1?"],
        "hydra.runn.dir=x": ["Did you mean hydra.run.dir=x?"],
        "+hed.dim=3": ['unknown option or group "hed.dim"'],
        "logger=[csv,wandbb]": ["logger=wandbb: unknown choice", "Did you mean logger=wandb?"],
        "prompt=null": ["prompt=null: unknown choice"],
        "+foo=1": ['unknown option or group "foo"'],
        "++bar={a:1}": ['unknown option or group "bar"'],
        "scheduler={a:1}": ["scheduler={a:1}: scheduler takes no dict. Set scheduler=CHOICE and its options"],
        "sampler=[pair,pk]": ["sampler takes one choice, not a list. Choices: pair, "],
        "split={a:1}": ["split={a:1}: set the options of this node one by one: split.seed, split.fractions, "],
        "hydra.run=[1]": ["hydra.run=[1]: set the options of this node one by one: hydra.run.dir."],
        "trainer.limit_val_batches=1": ["add it with +trainer.limit_val_batches=1."],
        "hydra/launcher=basik": ["Did you mean hydra/launcher=basic?"],
        "loss=infonec": ["loss=infonec: unknown choice", "Did you mean loss=infonce?", "infonce, triplet"],
    }
    assert step(*answers) == 2
    assert step.configs == [] and "Traceback" not in step.err
    lines = step.err.splitlines()
    assert len(lines) == len(answers)
    for word, parts in answers.items():
        assert any(all(part in line for part in parts) for line in lines), (word, step.err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["~head.dmi"], ["head=mlp has no option dmi"]),
        (["-m", "loss=triplet,infonec"], ["loss=infonec: unknown choice"]),
        (["-m", "head={a:1},mlp"], ["head={a:1},mlp: head takes no dict"]),
        (["hydra/launcher={a:1}"], ["hydra/launcher takes no dict"]),
        (
            ["loss=triplet", "loss.temperature=0.1"],
            [
                "loss=triplet has no option temperature; loss=infonce has",
                "Set loss=infonce, or drop loss.temperature.",
                "loss.margin",
            ],
        ),
        (["-m", "loss=triplet", "loss.temperature=0.1,0.2"], ["Set loss=infonce, or drop loss.temperature."]),
        (["data=demo_styles", "loss.temperature=0.1"], ["loss=triplet has no option temperature"]),
        (["--help", "los=triplet"], ["Did you mean loss=triplet?"]),
        (["--cfg", "job", "head.dmi=3"], ["Did you mean head.dim=3?"]),
    ],
)
def test_an_unknown_word_is_answered_in_one_line(step, words, said):
    assert step(*words) == 2
    assert step.configs == []
    for part in said:
        assert part in step.err
    assert "Traceback" not in step.err
    assert len(step.err.splitlines()) == 1
    assert "+" not in step.err, "a plus is not the remedy"


def test_a_group_that_the_step_does_not_read(step):
    assert step("optimizer=adamw", step="embed") == 2
    assert "style_match.embed has no group optimizer. Its groups: backbone, " in step.err


def test_options_of_a_choice_that_does_not_exist_are_not_judged(step):
    assert step("loss=infonec", "loss.margin=3") == 2
    assert len(step.err.splitlines()) == 1


@pytest.mark.parametrize("word", ["loss=((", "evaluation.ks=[1", "seed=1 2#", "a b", "foo"])
def test_an_override_that_hydra_cannot_parse_is_one_message(step, word):
    assert step(word) == 2
    assert step.err.startswith(word) and len(step.err.splitlines()) == 1 and "Exception" not in step.err
    answer = "Hydra cannot parse this override" if "=" in word else "is not of the form OPTION=VALUE or GROUP=CHOICE."
    assert answer in step.err


def test_choices_of_a_group_that_takes_several(step):
    assert step("logger=[csv,tensorboard]", "trainer.early_stopping={patience:3}") == 0, step.err
    assert step("logger=[]") == 0, step.err
    assert step("table=[]", "sweep=x", step="report") == 2
    assert step.err.startswith("table=[]: at least one choice is required. Choices: all, ")


def test_a_missing_launcher_names_its_extra(step, monkeypatch):
    choices = Composer.choices
    basic = ["basic"]
    monkeypatch.setattr(Composer, "choices", lambda self, g: basic if g == "hydra/launcher" else choices(self, g))
    assert step("-m", "hydra/launcher=submitit_slurm", "seed=0,1") == 2
    assert "pip install 'style_match[launchers]'" in step.err


@pytest.mark.parametrize(
    "words",
    [
        [
            "loss=infonce",
            "head.dim=512",
            "+trainer.limit_train_batches=3",
            *("+callbacks.mine._target_=mine.Callback", "+trainer.profiler={a:1}"),
            "split.fractions=[0.6,0.2,0.2]",
        ],
        ["loss=triplet", "data=demo_styles", "sampler=pk", "pooling=eos", "head.dim=256", "logger=wandb"],
        [
            *("head=identity", "prompt=metadata", "data=couples", "data.root=/somewhere"),
            *("logger=[csv,tensorboard,wandb]", "split.fractions.0=0.7", "seed=0", "hydra.run.dir=somewhere"),
        ],
        [
            *("backbone=qwen3_vl_2b", "backbone.path=/somewhere", "prompt=image_metadata", "encode=online"),
            *("sampler=plain", "data=styles", "data.root=/somewhere", "split.seed=0"),
        ],
    ],
)
def test_words_of_the_contract_run(step, words):
    assert step(*words) == 0, step.err
    assert len(step.configs) == 1


def test_a_path_is_taken_as_it_is(step):
    paths = {"data.root": "/사진/새 것", "data.image_root": "/photos (new)", "features.root": "/a=b/c"}
    assert step("data=couples", *(f"{name}={path}" for name, path in paths.items())) == 0, step.err
    (cfg,) = step.configs
    assert {name: OmegaConf.select(cfg, name) for name in paths} == paths
