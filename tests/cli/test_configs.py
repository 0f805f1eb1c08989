"""Every YAML: it composes, and says of its `_target_` only what the constructor takes."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from style_match.cli import main, schema
from tests import composed as parts

CONF = main.conf_dir()
FILES = sorted(CONF.rglob("*.yaml"))
STEPS = sorted(path.stem for path in CONF.glob("*.yaml"))
OVER_OTHERS = ("experiment", "recipe", "row")
OF_THE_LOOP = {"checkpoint_every_s", "early_stopping"}  # beside the options of lightning.Trainer
OF_HYDRA = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


def targets(tree, where=""):
    """(path, node) of every node with a `_target_`."""
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield where, tree
        for name, below in tree.items():
            yield from targets(below, f"{where}.{name}")


def located(name: str):
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


NODES = [
    pytest.param(node, id=f"{path.relative_to(CONF)}{where}")
    for path in FILES
    for where, node in targets(yaml.safe_load(path.read_text(encoding="utf-8")))
]


def test_the_configs_are_there():
    assert {"train", "embed", "evaluate"} <= set(STEPS)
    assert len(NODES) > 10


@pytest.mark.parametrize("node", NODES)
def test_a_target_takes_what_its_yaml_says(node):
    target = located(node["_target_"])
    parameters = inspect.signature(target).parameters
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    given = set(node) - OF_HYDRA - OF_THE_LOOP
    assert open_ended or given <= set(parameters), f"{sorted(given - set(parameters))} are no parameters"


@pytest.mark.parametrize("node", [node for node in NODES if node.values[0]["_target_"].startswith("style_match.")])
def test_a_number_of_a_yaml_is_not_said_again_in_the_code(node):
    parameters = inspect.signature(located(node["_target_"])).parameters
    doubled = [
        name
        for name, value in node.items()
        if name in parameters
        and isinstance(value, int | float)
        and parameters[name].default is not inspect.Parameter.empty
    ]
    target = node["_target_"]
    if not target.endswith((".Evaluator", ".RunCheckpoint")):  # used in notebooks, too; defaults are Lightning's
        assert doubled == []


@pytest.fixture(scope="module")
def composed() -> dict[str, DictConfig]:
    """Each step's config as it is without a word."""
    with initialize_config_dir(str(CONF), version_base=main.VERSION_BASE):
        return {step: compose(step, return_hydra_config=True) for step in STEPS}


def groups_of(config: DictConfig) -> list[str]:
    return [group for group in config.hydra.runtime.choices if (CONF / group).is_dir() and "/" not in group]


def test_a_step_says_what_it_does_with_five_examples(composed):
    for step, config in composed.items():
        assert config.hydra.job.name == step
        assert config.hydra.help.header
        assert config.hydra.help.footer.count(f"python -m style_match.{step}") == 5


@pytest.fixture(scope="module")
def choices_of(composed) -> dict[str, dict[str, list[str]]]:
    """Step -> its groups -> their choices; a group is listed at one step that reads it."""
    found: dict[str, dict[str, list[str]]] = {}
    groups = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra")
    for group in groups:
        step = next(step for step in reversed(STEPS) if group in groups_of(composed[step]))
        found.setdefault(step, {})[group] = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    return found


@pytest.mark.slow
@pytest.mark.integration
def test_every_choice_composes_and_is_called_by_its_name(choices_of):
    """Of each group one choice at a time, all groups together; what changes other groups is composed alone, below."""
    for step, groups in choices_of.items():
        alone = {group: choices for group, choices in groups.items() if group not in OVER_OTHERS}
        for number in range(max(map(len, alone.values()))):
            words = {group: choices[number % len(choices)] for group, choices in alone.items()}
            with initialize_config_dir(str(CONF), version_base=main.VERSION_BASE):
                config = compose(step, [f"{group}={choice}" for group, choice in words.items()])
            for group, choice in words.items():
                assert config.get(group, {}).get("name") in (None, choice)


@pytest.mark.integration
def test_every_experiment_composes(choices_of):
    """Rows are composed with the experiments that sweep over them (`test_runs`), recipes by `test_recipes`."""
    for choice in choices_of["train"]["experiment"]:
        config = parts.composed("train", f"experiment={choice}")
        assert config.head and config.loss


def test_no_yaml_is_out_of_reach(composed):
    used = {group for config in composed.values() for group in config.hydra.runtime.choices}
    for path in FILES:
        group = str(path.parent.relative_to(CONF))
        assert group == "." or group in used, f"no step reads {path}"


@pytest.mark.parametrize("path", sorted((CONF / "experiment").glob("*.yaml")), ids=lambda path: path.stem)
def test_an_experiment_opens_with_its_command(path: Path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# @package _global_"
    assert any(f"python -m style_match.train experiment={path.stem}" in line for line in lines if line.startswith("#"))


def test_the_sweep_of_wandb_sets_options_that_exist():
    sweep = yaml.safe_load((CONF.parent / "experiments/dashboard/sweep.yaml").read_text(encoding="utf-8"))
    values = {
        name: each["values"][-1] if "values" in each else each.get("value", each.get("max"))
        for name, each in sweep["parameters"].items()
    }
    fixed = [word for word in sweep["command"] if "=" in word]
    config = parts.composed("train", *fixed, *(f"{name}={value}" for name, value in values.items()))
    assert schema.faults(config, parts.composed("train", *fixed, "loss=infonce"), step="train") == []
    assert sweep["command"][-1] == "${args_no_hyphens}" and config.optimizer.lr == 1e-3
