"""The code that a run or matcher folder may name: it may come from others, and a config can name any function."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from style_match.utils.errors import UserError

_PACKAGE = re.compile(r"^# *@package +([\w.]+) *$", re.MULTILINE)
LOOKED_UP = "hydra.utils.get_"  # prefix of functions that import the value of `path` or `_args_`


def conf_dir() -> Path:
    """Return the configs: inside the package if it is installed, beside it in a checkout."""
    inside = Path(__file__).resolve().parents[1] / "conf"
    return inside if inside.is_dir() else inside.parent.parent / "conf"


def refuse_unknown_targets(config: DictConfig, run: str | Path, command: DictConfig, sources: Iterable[Any]) -> None:
    """Refuse the config of a run that names code which no config of the command names.

    Callbacks only matter to a step that has some: evaluation and export never import those of a training.

    Args:
        config: Of the run folder `run`.
        command: Composed config of the command that reads it; what it names is trusted in the same place.
        sources: Its `hydra.runtime.config_sources`.

    Raises:
        UserError: The first such `_target_` or path of a function.
    """
    folders = [Path(str(each.path).removeprefix("file://")) for each in sources if each.schema == "file"]
    tree, typed = (OmegaConf.to_container(each, resolve=False) for each in (config, command))
    assert isinstance(tree, dict) and isinstance(typed, dict)
    if "callbacks" not in typed:
        tree.pop("callbacks", None)
    refuse_unnamed(tree, Path(run) / "config.yaml", folders, trusted=typed)


def refuse_unnamed(
    tree: Any, file: Path, folders: Iterable[Path], *, slots: Mapping[str, str] | None = None, trusted: Any = None
) -> None:
    """Refuse a file (as nested dicts and lists) that names code which no YAML below the folders names in that place.

    A head may be any head of the YAMLs; other parts must be named by a YAML at the same path of the config. Runs and
    matchers are written resolved, so that an interpolation can only hide a name.

    Args:
        slots: Path in the file -> path in a config, where these differ.
        trusted: A config of the user's own, which may name more.

    Raises:
        UserError: The first `_target_` or path of a function that no YAML names in that place; an interpolation.
    """
    known = {(_without_numbers(option), name) for folder in folders for option, name in _of_yamls(folder)}
    known |= {(_without_numbers(option), name) for option, name in _named(trusted)}
    places, names = {option for option, _ in known}, {(_kind(option), name) for option, name in known}
    for option, name in _named(tree):
        place = _without_numbers(option)
        for path, slot in (slots or {}).items():
            if place.startswith(f"{path}."):
                place = slot + place.removeprefix(path)
        if place not in places or (_kind(place), name) not in names:
            raise UserError(
                f"{file}: {option}={name} is not named by any config in that place, so it is not run. If you trust it, "
                "repeat it on this command line as in training (+callbacks.NAME._target_=CLASS), or add it to a YAML "
                "of the same group in a folder FOLDER and pass --config-dir FOLDER."
            )
    for option, text in _texts(tree):
        if "${" in text:
            raise UserError(f"{file}: {option}={text} is an interpolation; the file was changed. Restore the original.")


def _of_yamls(folder: Path) -> Iterator[tuple[str, str]]:
    """(option, name) of all code that the YAMLs below a folder name, as options of a config."""
    for path in folder.rglob("*.yaml"):
        try:
            text = path.read_text(encoding="utf-8")
            tree = yaml.safe_load(text)
        except (OSError, ValueError, yaml.YAMLError):
            continue  # a file that cannot be read names nothing
        package = _PACKAGE.search(text)
        group = ".".join(path.relative_to(folder).parent.parts)
        prefix = "" if package and package[1] == "_global_" else package[1] if package else group
        for option, name in _named(tree):
            yield f"{prefix}.{option}".lstrip("."), name


def _kind(option: str) -> str:
    """Return the same for all places of heads."""
    group, _, key = option.partition(".")[0], *option.rpartition(".")[1:]
    return f"head.{key}" if group in ("head", "text") else option


def _without_numbers(option: str) -> str:
    """Return an option without the indices of list items."""
    return ".".join(part for part in option.split(".") if not part.isdecimal())


def _texts(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(option, text) of every text, keys included."""
    if isinstance(tree, str):
        yield prefix.removesuffix("."), tree
    for key, value in _items(tree):
        yield f"{prefix}{key}", str(key)
        yield from _texts(value, f"{prefix}{key}.")


def _named(tree: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """(option, name) of everything that Hydra would import."""
    target = str(tree.get("_target_", "")) if isinstance(tree, dict) else ""
    for key, value in _items(tree):
        if key == "_target_" or (key in ("path", "_args_") and target.startswith(LOOKED_UP)):
            yield f"{prefix}{key}", str(value)
        yield from _named(value, f"{prefix}{key}.")


def _items(tree: Any) -> Iterable[tuple[Any, Any]]:
    return tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
