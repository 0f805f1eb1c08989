"""Words of the command line that no config knows, and those that every config must know."""

import pytest
from omegaconf import OmegaConf

pytestmark = pytest.mark.integration


def test_unknown_words_get_the_nearest_right_ones(step):
    """All are answered together, a line each."""
    answers = {
        "head.dmi=3": ["head=mlp has no option dmi", "Did you mean head.dim=3?"],
        "los=triplet": ["no option or group is called los", "Did you mean loss=triplet?", "--help"],
        "model=triplet": ["Did you mean loss=triplet?"],
        "lr=0.1": ["Did you mean optimizer.lr=0.1?"],
        "optimiser.lr=0.1": ["Did you mean optimizer.lr=0.1?"],
        "split.sed=1": ["no option or group is called split.sed", "Did you mean split.seed=1?"],
        "trainer.early_stopping.patienc=1": ["Did you mean trainer.early_stopping.patience=1?"],
        "hydra.runn.dir=x": ["Did you mean hydra.run.dir=x?"],
        "+hed.dim=3": ["no option or group is called hed.dim"],
        "logger=[csv,wandbb]": ["logger=wandbb: no such choice", "Did you mean logger=wandb?"],
        "prompt=null": ["prompt=null: no such choice"],
        "hydra/launcher=basik": ["Did you mean hydra/launcher=basic?"],
        "loss=infonec": ["loss=infonec: no such choice", "Did you mean loss=infonce?", "infonce, triplet"],
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
        (["-m", "loss=triplet,infonec"], ["loss=infonec: no such choice"]),
        (
            ["loss=triplet", "loss.temperature=0.1"],
            [
                "loss=triplet has no option temperature; loss=infonce has",
                "Write loss=infonce loss.temperature=0.1",
                "loss.margin",
            ],
        ),
        (["-m", "loss=triplet", "loss.temperature=0.1,0.2"], ["Write loss=infonce loss.temperature=0.1,0.2"]),
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
    assert "style_match.embed does not read the group optimizer" in step.err


def test_options_of_a_choice_that_does_not_exist_are_not_judged(step):
    assert step("loss=infonec", "loss.margin=3") == 2
    assert len(step.err.splitlines()) == 1


def test_plus_is_not_called_the_remedy(step):
    step("loss=triplet", "loss.temperature=0.1")
    assert "+" not in step.err


def test_an_override_that_hydra_cannot_parse_is_one_message(step):
    assert step("loss=((") == 2
    assert step.err.startswith("loss=(( is not written as Hydra reads it.") and len(step.err.splitlines()) == 1
    assert "Traceback" not in step.err


def test_a_stray_word_is_one_message(step):
    assert step("foo") == 2
    assert step.err.startswith("foo is no OPTION=VALUE and no GROUP=CHOICE") and len(step.err.splitlines()) == 1


def test_commas_without_m_are_told_to_add_it(step):
    assert step("loss=triplet,infonce") == 2
    assert "-m" in step.err and "loss=triplet,infonce" in step.err


def test_a_missing_launcher_names_its_extra(step, monkeypatch):
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    whole = ConfigLoaderImpl.get_group_options

    def without_plugins(self, group_name, *args, **kwargs):
        options = whole(self, group_name, *args, **kwargs)
        return ["basic"] if group_name == "hydra/launcher" else options

    monkeypatch.setattr(ConfigLoaderImpl, "get_group_options", without_plugins)
    assert step("-m", "hydra/launcher=submitit_slurm", "seed=0,1") == 2
    assert "pip install 'style_match[launchers]'" in step.err


@pytest.mark.parametrize(
    "words",
    [
        ["loss=infonce", "head.dim=512", "+trainer.limit_train_batches=3", "split.fractions=[0.6,0.2,0.2]"],
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
