"""Configs of steps without the command line, which takes Hydra 0.5 s or more for each command."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from style_match.cli import main


@cache
def _base(step: str, choices: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(main.conf_dir()), version_base=main.VERSION_BASE):
        return compose(step, list(choices), return_hydra_config=True)


def _is_choice(word: str) -> bool:
    return (main.conf_dir() / word.partition("=")[0]).is_dir()


def _compose(step: str, words: tuple[str, ...]) -> DictConfig:
    choices = tuple(word for word in words if _is_choice(word))
    config = copy.deepcopy(_base(step, choices))
    values = [word for word in words if word not in choices]
    for override in OverridesParser.create().parse_overrides(values):
        OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=override.is_add())
    return config


def composed(step: str, *words: str) -> DictConfig:
    """The config that `python -m style_match.STEP WORDS...` gives its run, but unchecked.

    Each combination of choices (`GROUP=NAME`) is composed once; values are written into a copy of it, as Hydra does.
    """
    return _without_hydra(_compose(step, words))


@contextmanager
def running(step: str, *words: str) -> Iterator[DictConfig]:
    """As `composed`, with `HydraConfig` set as it is during a run."""
    config = _compose(step, words)
    hydra = HydraConfig.instance()
    before = hydra.cfg
    hydra.set_config(config)
    try:
        yield _without_hydra(config)
    finally:
        hydra.cfg = before


def _without_hydra(config: DictConfig) -> DictConfig:
    with open_dict(config):
        del config["hydra"]
    return config
