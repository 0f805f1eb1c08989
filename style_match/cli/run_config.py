"""Config of a run folder: read from its config.yaml, with the names of classes as they are today."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, flag_override
from omegaconf.errors import OmegaConfBaseException

from style_match.utils.errors import UserError
from style_match.utils.files import read_yaml
from style_match.utils.text import cut

# Options that affect the speed of a run or its messages, and not its results. The last two are of earlier versions.
NO_EFFECT_ON_RESULTS = (
    "run",
    "ckpt_path",
    "progress",
    "debug",
    "logger",
    "features",
    "data.num_workers",
    "backbone.num_workers",
    "backbone.device",
    "backbone.token_budget",
    "trainer.checkpoint_every_s",
    "trainer.max_loss_items",
    "evaluation.block",
)


# Nodes of options in the config of a run.
NODES = frozenset(
    (
        *("data", "split", "backbone", "prompt", "pooling", "features", "head", "sampler", "balance", "loss", "text"),
        *("optimizer", "scheduler", "trainer", "evaluation", "picture", "logger"),
    )
)


# Options of a command itself, never taken from the config of the run that `run=` names.
OF_THE_COMMAND = ("hydra", "run", "ckpt_path", "progress", "debug")

FAILED = "failed.json"  # in the folder of a job that failed
SEEN = "seen.txt"  # photos of the train and val splits, in run and matcher folders


class FolderInUse(UserError):
    """Another process is writing the run folder."""


def read_config(run: str | Path) -> DictConfig:
    """Return the resolved config of a run folder.

    Raises:
        UserError: No such folder, or no valid `config.yaml` in it.
    """
    path = Path(run).expanduser() / "config.yaml"
    if not path.parent.is_dir():
        raise UserError(f"run={run}: there is no such folder. Runs are listed under runs/.")
    if not path.is_file():
        if runs := sorted(found.parent for found in path.parent.glob("*/config.yaml")):
            raise UserError(f"run={run} is a folder of {len(runs)} runs. Choose one of them, such as run={runs[0]}.")
        raise UserError(
            f"run={run} is not a run folder: {path} is missing. If the run was killed before writing it, repeat its "
            f"command with hydra.run.dir={run}."
        )
    try:
        tree = _at_its_place(with_current_names(read_yaml(path)), path.parent)
        config = OmegaConf.create(tree if isinstance(tree, dict) else {})
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    if "data" not in config:
        raise UserError(f"{path} is not the config of a run.")
    for name in sorted(NODES):
        if name in tree and not isinstance(tree[name], dict):
            raise UserError(f"{path} is not the config of a run: {name} holds no options. Restore the original.")
    return config


def merge_run_config(
    run_cfg: DictConfig,
    composed_cfg: DictConfig,
    task_overrides: Sequence[str],
    *,
    notice: Callable[[str], object] = lambda line: None,
) -> DictConfig:
    """Return the config of a run, changed by the overrides of a command line.

    A choice of a group replaces the node of the group, a value replaces a value; everything else is the run's.
    Nodes that the run's config lacks (it may be of an older version) are taken from the composed one. So are folders
    for features and splits that do not exist here: a run folder from another machine creates no folders.

    Args:
        run_cfg: Of the run folder (`read_config`).
        composed_cfg: Of the command line that names the run.
        task_overrides: Of that command line, such as `data=demo_couples` or `evaluation.ks=[1]`.
        notice: Called with a line for the user about each folder that does not exist.

    Raises:
        UserError: An experiment, a recipe or a table row, which would change the config of the run everywhere.
    """
    merged, composed = deepcopy(run_cfg), OmegaConf.to_container(composed_cfg, resolve=False)
    assert isinstance(composed, dict)
    with flag_override(merged, ["struct", "readonly"], False):
        for key in composed:
            if key in OF_THE_COMMAND or key not in merged:
                merged[key] = composed[key]
        for group, name in (("features", "root"), ("split", "store")):
            folder = merged[group].get(name) if group in composed else None
            if folder and not (isinstance(folder, str) and Path(folder).expanduser().is_dir()):
                used = composed[group].get(name)
                notice(
                    f"{group}.{name}={cut(str(folder))} of the run does not exist here; {group}.{name}={used} is used"
                )
                merged[group][name] = used
        for override in OverridesParser.create().parse_overrides(list(task_overrides)):
            key, value = override.key_or_group, override.value()
            if key in ("experiment", "recipe", "row"):
                raise UserError(
                    f"{override.input_line} cannot be combined with run={merged.get('run')}, which has its own config. "
                    f"Drop {key}."
                )
            if key.split(".")[0].split("/")[0] in OF_THE_COMMAND:
                continue
            if isinstance(composed.get(key), dict) and not isinstance(value, dict):
                merged[key] = composed[key]
            else:
                OmegaConf.update(merged, key, value, merge=True, force_add=True)
    return merged


# Names of classes and functions in runs and matchers of earlier versions, and today.
_MOVED = tuple(
    (re.compile(rf"style_match\.{was}\."), f"style_match.{now}.")
    for was, now in (
        (r"head\.(?:cca|centred|pair_lda|ridge|text_map|whitened)", "models.head.linear_models"),
        ("head", "models.head"),
        ("loss", "models.loss"),
        ("sampler", "data.sampler"),
        ("pooling", "backbone.pooling"),
        (r"picture\.tsne", "evaluation.tsne"),
        (r"picture\.report", "training.page"),
        ("index", "serving.index"),
    )
)


def with_current_names(tree: Any) -> Any:
    """Return a copy of a config (nested dicts and lists) with the current names of moved classes and functions."""
    if isinstance(tree, list):
        return [with_current_names(each) for each in tree]
    if not isinstance(tree, dict):
        return tree
    return {
        name: current_name(value)
        if name in ("_target_", "path") and isinstance(value, str)
        else with_current_names(value)
        for name, value in tree.items()
    }


def _at_its_place(tree: Any, folder: Path) -> Any:
    """Point what a run writes into, callbacks and loggers, to where its folder is now."""
    if not isinstance(tree, dict) or "trainer" not in tree:
        return tree
    if "callbacks" not in tree:  # an earlier version had other loggers
        return {name: node for name, node in tree.items() if name != "logger"}
    best = (tree.get("callbacks") or {}).get("best") or {}
    was = str(Path(str(best.get("dirpath", ""))).parent)

    def moved(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: moved(value) for name, value in node.items()}
        is_inside = isinstance(node, str) and (node == was or node.startswith(f"{was}/"))
        return str(folder.resolve()) + node.removeprefix(was) if is_inside and was != "." else node

    return {name: moved(node) if name in ("callbacks", "logger") else node for name, node in tree.items()}


def current_name(name: str) -> str:
    """Return the current dotted name of a class or function of this package."""
    for was, now in _MOVED:
        if was.match(name):
            return was.sub(now, name, count=1)
    return name


def leaves(config: DictConfig) -> dict[str, Any]:
    """Return the values of a config by their dotted paths, references resolved; lists are values."""

    def below(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from below(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(below(OmegaConf.to_container(config, resolve=True), ""))


def is_below(path: str, parts: Iterable[str]) -> bool:
    """Return whether a dotted path is one of `parts` or an option of one."""
    return any(path == part or path.startswith(f"{part}.") for part in parts)
