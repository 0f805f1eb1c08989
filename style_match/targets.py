"""Which code a run folder may name: it may be somebody else's, and a config can name any function of any package."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from style_match.errors import UserError

LOOKED_UP = "hydra.utils.get_"  # names of functions that take the `path` of what they fetch


def refuse_unknown_targets(config: DictConfig, run: str | Path, sources: Iterable[Any]) -> None:
    """Refuse the config of a run that names other code than the configs do.

    Args:
        config: of the run folder `run`.
        sources: where the configs lie: `hydra.runtime.config_sources` of the command that reads it.

    Raises:
        UserError: the first `_target_`, or path of a function, that no YAML of the sources names.
    """
    named = set()
    for source in sources:
        folder = str(source.path).removeprefix("file://")
        for path in Path(folder).rglob("*.yaml") if source.schema == "file" else ():
            try:
                named |= {name for _, name in _named(yaml.safe_load(path.read_text(encoding="utf-8")))}
            except (OSError, ValueError, yaml.YAMLError):
                continue  # it names nothing; whoever uses it is told what is wrong with it
    for option, name in _named(OmegaConf.to_container(config, resolve=False)):
        if name not in named:
            raise UserError(
                f"{Path(run) / 'config.yaml'}: {option}={name} is named by none of the configs, so it is not run. If "
                "it is yours, write it into a YAML of a folder FOLDER and add --config-dir FOLDER, as for training."
            )


def _named(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(option, name) of everything that Hydra would import."""
    if isinstance(tree, list):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return
    target = str(tree.get("_target_", ""))
    for key, value in tree.items():
        if key == "_target_" or (key == "path" and target.startswith(LOOKED_UP)):
            yield f"{prefix}{key}", str(value)
        yield from _named(value, f"{prefix}{key}.")
