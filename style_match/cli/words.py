"""Groups, choices and options that Hydra offers to a step, and the faults of overrides that name others.

Nothing heavy is imported here.
"""

import difflib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from style_match.cli.quoting import quoted
from style_match.cli.targets import conf_dir
from style_match.utils.errors import UserError
from style_match.utils.text import cut, other_case

VERSION_BASE = "1.3"
LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")  # of the extra `launchers`
OPEN = ("trainer", "callbacks", "logger")  # nodes that take any option of the classes that they instantiate
ABSENT = object()
MAX_NAMES = 400  # characters of a list of options in a message


class Composer:
    """Composes configs of one step; a context, in which Hydra is initialized.

    Attributes:
        groups: The groups in the defaults list of the step, in its order.
        command: How the step is called.
    """

    def __init__(
        self,
        step: str,
        *,
        config_name: str | None = None,
        config_path: str | None = None,
        config_dir: str | None = None,
    ):
        self.step = step
        self.command = f"python -m style_match.{step}"
        self.config_name = (config_name or step).removesuffix(".yaml")
        self._folders = [Path(config_path).absolute() if config_path else conf_dir()]
        self._searchpath: list[str] = []
        if config_dir:
            self._folders.append(Path(config_dir).absolute())
            if not self._folders[-1].is_dir():
                raise UserError(f"--config-dir {config_dir}: no such folder.")
            self._searchpath = [f"hydra.searchpath=[{quoted(f'file://{self._folders[-1]}')}]"]
        defaults = [entry for entry in self._load(self.config_name).get("defaults", []) if isinstance(entry, dict)]
        groups = [str(group).removeprefix("optional ") for entry in defaults for group in entry]
        self.groups = [group for group in groups if not group.startswith("override ")]
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._choices: dict[str, list[str]] = {}

    def __enter__(self) -> "Composer":
        GlobalHydra.instance().clear()
        self._hydra = initialize_config_dir(str(self._folders[0]), job_name=self.step, version_base=VERSION_BASE)
        self._hydra.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._hydra.__exit__(*error)
        GlobalHydra.instance().clear()

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
        return parser.parse_overrides(list(overrides))

    def compose(self, choices: Sequence[str]) -> DictConfig:
        """Return the config of these choices of groups, with its `hydra` node."""
        key = tuple(choices)
        if key not in self._composed:
            self._composed[key] = compose(self.config_name, [*self._searchpath, *choices], return_hydra_config=True)
        return self._composed[key]

    def choices(self, group: str) -> list[str]:
        """Return the choices of a group, none if there is no such group."""
        if not group:
            return []
        if group not in self._choices:
            loader = GlobalHydra.instance().config_loader()
            self._choices[group] = list(loader.get_group_options(group, overrides=self._searchpath))
        return self._choices[group]

    def is_choice(self, override: Override) -> bool:
        """Return whether an override selects a choice of a group (and does not set a value)."""
        return not isinstance(override.value(), dict) and bool(self.choices(override.key_or_group))

    def choice_faults(self, override: Override) -> list[str]:
        """Faults of an override (also a swept one) whose key is a group."""
        group, known = override.key_or_group, self.choices(override.key_or_group)
        if not known or override.is_delete():
            return []
        word, offered = cut(str(override.input_line)), f"Choices: {', '.join(known)}."
        if not (group in self.groups or group in self.compose([]).hydra.runtime.choices):
            return [f"{word}: style_match.{self.step} has no group {group}. Its groups: {', '.join(self.groups)}."]
        values = list(override.sweep_iterator()) if override.is_choice_sweep() else [override.value()]
        if any(isinstance(value, dict) for value in values):
            return [f"{word}: {group} takes no dict. Set {group}=CHOICE and its options one by one. {offered}"]
        several = self._takes_several(group)
        if any(isinstance(value, list) for value in values) and not several:
            return [f"{word}: {group} takes one choice, not a list. {offered}"]
        if [] in values and several and group not in self.compose([f"{group}=[]"]):
            return [f"{word}: at least one choice is required. {offered}"]
        chosen = [choice for value in values for choice in (value if isinstance(value, list) else [value])]
        return [self._choice_fault(group, choice, known) for choice in chosen if choice not in known]

    @staticmethod
    def _choice_fault(group: str, choice: Any, known: Sequence[str]) -> str:
        if group == "hydra/launcher" and choice in LAUNCHERS:
            return f"{group}={choice} is not installed. Install its extra: pip install 'style_match[launchers]'"
        return (
            f"{group}={'null' if choice is None else choice}: unknown choice."
            f"{_guess(nearest(str(choice), known), f'{group}=')} Choices: {', '.join(known)}."
        )

    def option_fault(self, override: Override, config: DictConfig, *, swept: Collection[str] = ()) -> str | None:
        """Return what is wrong with the key of an override that sets a value.

        Args:
            config: Of the choices of the same command, before values are set.
            swept: Groups that the command sweeps over.
        """
        key, line = override.key_or_group, cut(str(override.input_line))
        tree = as_tree(config)
        if has_place(tree, override):
            return _dict_fault(find(tree, key), override)
        value = str(override.input_line).partition("=")[2]
        parent, _, name = key.rpartition(".")
        group = key.partition(".")[0]
        siblings = find(tree, parent) if parent else None
        if group in OPEN and name == "_target_":
            return f"{line}: {parent} does not exist. To add it, set +{line}."
        if group not in self.groups or not isinstance(siblings, dict):
            return (
                f'{line}: unknown option or group "{key}".{_guess(self._meant(key, value, tree))} '
                f"List them with {self.command} --help or --cfg job."
            )
        used = config.hydra.runtime.choices.get(group)
        lacking = f"{line}: {f'{group}={used}' if used else f'the {group} of the run'} has no option {name}"
        own = ", ".join(f"{parent}.{sibling}" for sibling in siblings if not str(sibling).startswith("_")) or "none"
        having = [c for c in self.choices(group) if c != used and self._has(group, c, key.partition(".")[2])]
        if not having:
            add = f" To pass another option to its class, add it with +{line}." if group in OPEN else ""
            guess = _guess(nearest(name, list(siblings)), f"{parent}.", f"={value}")
            return f"{lacking}.{guess} Its options: {own}.{add}"
        lacking += f"; {' and '.join(f'{group}={choice}' for choice in having)} has."
        if group in swept:
            return f"{lacking} Run one sweep per choice of {group}, each with its own options."
        return f"{lacking} Set {group}={having[0]}, or drop {key}. Its own options: {own}."

    def _meant(self, key: str, value: str, tree: Any) -> str | None:
        """`group=choice` or `option=value` nearest to an unknown key."""
        if "." not in key:
            if first := nearest(key, [*self.groups, *(name for name in tree if name != "hydra")]):
                return f"{first}={value}"
            if holder := next((group for group in self.groups if value in self.choices(group)), None):
                return f"{holder}={value}"
        paths = [path for path in _paths(tree) if path.startswith("hydra.") == key.startswith("hydra.")]
        last = {path.rpartition(".")[2]: path for path in paths}
        path = nearest(key, paths) or last.get(nearest(key.rpartition(".")[2], list(last)) or "")
        return f"{path}={value}" if path else None

    def _load(self, path: str) -> dict[str, Any]:
        """Return the content of a YAML, not composed."""
        files = [folder / f"{path}.yaml" for folder in self._folders]
        return next((yaml.safe_load(file.read_text(encoding="utf-8")) or {} for file in files if file.is_file()), {})

    def _takes_several(self, group: str) -> bool:
        """Return whether choices of the group can be combined: each is a node of its name or a list of such choices."""
        if group == "callbacks":  # choices add callbacks to each other
            return True
        contents = {choice: self._load(f"{group}/{choice}").keys() - {"defaults"} for choice in self.choices(group)}
        return all(choice in names or not names for choice, names in contents.items())

    def _has(self, group: str, choice: str, name: str) -> bool:
        return find(self._load(f"{group}/{choice}"), name, ABSENT) is not ABSENT


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the one of `known` that a mistyped word most probably meant."""
    return other_case(word, known) or next(iter(difflib.get_close_matches(word, known, n=1)), None)


def find(tree: Any, path: str, absent: Any = None) -> Any:
    """Return the value at a dotted path in nested dicts and lists, or `absent`."""
    for part in path.split("."):
        if isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        elif isinstance(tree, dict) and part in tree:
            tree = tree[part]
        else:
            return absent
    return tree


def as_tree(config: Any) -> Any:
    """Return a config as nested dicts and lists, interpolations not resolved."""
    return OmegaConf.to_container(config, resolve=False)


def has_place(tree: Any, override: Override) -> bool:
    """Return whether an override sets an option of a config (nested dicts), or adds one with an allowed `+`."""
    key = override.key_or_group.replace("[", ".").replace("]", "")
    if find(tree, key, ABSENT) is not ABSENT:
        return True
    parent = key.rpartition(".")[0]
    if not parent or not (override.is_add() or override.is_force_add()):
        return False
    return key.partition(".")[0] in OPEN or isinstance(find(tree, parent, ABSENT), dict | None)


def _dict_fault(node: Any, override: Override) -> str | None:
    """Return what is wrong with a dict or a list that is set for a node of options."""
    value = override.value()
    if not (isinstance(node, dict) and node and isinstance(value, dict | list)):
        return None
    if isinstance(value, dict) and (not set(value) - set(node) or override.key_or_group.split(".")[0] in OPEN):
        return None
    own = ", ".join(f"{override.key_or_group}.{name}" for name in node if not str(name).startswith("_"))
    return f"{cut(str(override.input_line))}: set the options of this node one by one: {cut(own, MAX_NAMES)}."


def _guess(meant: str | None, before: str = "", after: str = "") -> str:
    return f" Did you mean {before}{meant}{after}?" if meant else ""


def _paths(tree: Any, prefix: str = "") -> Iterator[str]:
    for name, below in tree.items() if isinstance(tree, dict) else ():
        if not str(name).startswith("_"):
            yield f"{prefix}{name}"
            yield from _paths(below, f"{prefix}{name}.")
