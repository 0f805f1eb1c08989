"""Config of a run folder: read from its config.yaml, with the names of classes as they are today."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from style_match.utils.errors import UserError
from style_match.utils.files import read_yaml

# Options of mere pace and place: they change how fast a run is, or what it shows meanwhile, and not its result.
PACE = (
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
)


# Parts of a run's config that hold options of their own.
NODES = frozenset(
    (
        *("data", "split", "backbone", "prompt", "pooling", "features", "head", "sampler", "balance", "loss", "text"),
        *("optimizer", "scheduler", "trainer", "evaluation", "picture", "logger"),
    )
)


FAILED = "failed.json"  # in the folder of a cell that failed, whichever process or machine ran it


class FolderInUse(UserError):
    """Another process is writing the run folder."""


def read_config(run: str | Path) -> DictConfig:
    """The resolved config of a run folder.

    Raises:
        UserError: no such folder, or no `config.yaml` in it.
    """
    path = Path(run).expanduser() / "config.yaml"
    if path.parent.is_dir() and not path.exists():
        if runs := sorted(found.parent for found in path.parent.glob("*/config.yaml")):
            raise UserError(
                f"run={run} is no run but the folder of {len(runs)}, such as a sweep: name one of them, such as "
                f"run={runs[0]}."
            )
        raise UserError(
            f"run={run} holds no run: {path} is missing. A run that was killed before it wrote it is begun by its own "
            f"command again, with hydra.run.dir={run}."
        )
    if not path.is_file():
        raise UserError(f"run={run} is not a run folder: {path} is missing. Runs are listed under runs/.")
    try:
        tree = _at_its_place(with_current_names(read_yaml(path)), path.parent)
        config = OmegaConf.create(tree if isinstance(tree, dict) else {})
    except (OSError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise UserError(f"{path} cannot be read: {str(error).partition(chr(10))[0]}") from error
    if "data" not in config:
        raise UserError(f"{path} is not the config of a run.")
    for name in sorted(NODES):
        if name in tree and not isinstance(tree[name], dict):
            raise UserError(f"{path}: {name} holds no options, so it is not the config of a run. Take the original.")
    return config


# Where classes and functions were in earlier versions of this package, whose runs and matchers name them.
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
    """A copy of a config, nested dicts and lists, in which moved classes and functions have their names of today."""
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
    if "callbacks" not in tree:  # an earlier version had loggers of its own
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
    """The dotted name of a class or function of this package as it is today."""
    for was, now in _MOVED:
        if was.match(name):
            return was.sub(now, name, count=1)
    return name


def leaves(config: DictConfig) -> dict[str, Any]:
    """The values of a config by their dotted paths, references resolved; lists are values."""

    def below(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in tree.items():
            if isinstance(value, dict):
                yield from below(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(below(OmegaConf.to_container(config, resolve=True), ""))


def is_below(path: str, parts: Iterable[str]) -> bool:
    """Whether a dotted path is one of `parts` or an option of one."""
    return any(path == part or path.startswith(f"{part}.") for part in parts)
