"""The words of a command line against the words that the configs know, before anything heavy is imported."""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any

from hydra._internal.hydra import Hydra
from hydra.core.default_element import GroupDefault
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from style_match.utils.text import cut, other_case

# what Hydra's launchers are called, and the extra that brings them
LAUNCHERS = {"joblib": "launchers", "submitit_local": "launchers", "submitit_slurm": "launchers"}
ABSENT = object()
MOST_NAMES = 400  # characters of a list of options in a message


class Vocabulary:
    """The groups, choices and options that one step knows, asked of Hydra; and what in a command line is none of them.

    Attributes:
        groups: the groups of the step's own defaults list, in its order.
        command: how the step is called.
    """

    def __init__(self, hydra: Hydra, step: str, config_name: str | None = None):
        self.hydra = hydra
        self.step = step
        self.config_name = config_name or step
        self.command = f"python -m style_match.{step}"
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        self._choices: dict[str, list[str]] = {}
        primary = self._load(self.config_name)
        self.groups = [d.group for d in (primary.defaults_list or () if primary else ()) if _is_group(d)]

    def parse(self, overrides: Sequence[str]) -> list[Override]:
        """Hydra's own parser; its `OverrideParseException` is Hydra's to answer."""
        return OverridesParser.create(config_loader=self.hydra.config_loader).parse_overrides(list(overrides))

    def compose(self, overrides: Sequence[str], *, sweep: bool = False) -> DictConfig:
        """The config of these overrides, `hydra` node and all; with `sweep`, swept overrides are passed over."""
        key = (*overrides, str(sweep))
        if key not in self._composed:
            self._composed[key] = self.hydra.compose_config(
                config_name=self.config_name,
                overrides=list(overrides),
                run_mode=RunMode.MULTIRUN if sweep else RunMode.RUN,
                with_log_configuration=False,
                validate_sweep_overrides=not sweep,
            )
        return self._composed[key]

    def _load(self, path: str) -> Any:
        """A YAML as it stands, not composed; None where there is none."""
        return self.hydra.config_loader.repository.load_config(path)  # type: ignore[attr-defined]

    def reads(self, group: str) -> bool:
        """Whether the step has the group, in its own defaults list or in one below it."""
        return group in self.groups or group in self.compose([]).hydra.runtime.choices

    def choices(self, group: str) -> list[str]:
        if group not in self._choices:  # each call of Hydra's copies its whole repository
            self._choices[group] = list(self.hydra.config_loader.get_group_options(group))
        return self._choices[group]

    def is_choice(self, override: Override) -> bool:
        """Whether it picks a choice of a group (and not a value)."""
        return not isinstance(override.value(), dict) and bool(self.choices(override.key_or_group))

    def takes_several(self, group: str) -> bool:
        """Whether choices of the group stand beside each other, each under its own name or made of such."""
        trees = {choice: as_tree(self._load(f"{group}/{choice}").config) for choice in self.choices(group)}
        return all(choice in tree or not tree for choice, tree in trees.items())

    def choice_faults(self, override: Override) -> list[str]:
        """A group that this step does not read, or values that are none of its choices; swept ones too."""
        group, known = override.key_or_group, self.choices(override.key_or_group)
        if not known or override.is_delete():
            return []
        if not self.reads(group):
            its = ", ".join(self.groups)
            return [f"{override.input_line}: style_match.{self.step} does not read the group {group}; it reads {its}."]
        values = list(override.sweep_iterator()) if override.is_choice_sweep() else [override.value()]
        if any(isinstance(value, dict) for value in values):
            own = f"Write {group}=CHOICE, and its options one by one. Choices: {', '.join(known)}."
            return [f"{cut(str(override.input_line))}: {group} takes no dict. {own}"]
        if any(isinstance(value, list) for value in values) and not self.takes_several(group):
            return [f"{cut(str(override.input_line))}: {group} takes one choice, no list. Choices: {', '.join(known)}."]
        if [] in values and group not in self.compose([f"{group}=[]"]):
            return [f"{override.input_line}: write at least one choice. Choices: {', '.join(known)}."]
        choices = [choice for value in values for choice in (value if isinstance(value, list) else [value])]
        return [self._choice_fault(group, choice, known) for choice in choices if choice not in known]

    @staticmethod
    def _choice_fault(group: str, choice: Any, known: Sequence[str]) -> str:
        if group == "hydra/launcher" and choice in LAUNCHERS:
            extra = f"style_match[{LAUNCHERS[choice]}]"
            return f"{group}={choice} is not installed; it comes with an extra: pip install '{extra}'"
        meant = nearest(str(choice), known)
        guess = f" Did you mean {group}={meant}?" if meant else ""
        written = "null" if choice is None else choice
        return f"{group}={written}: no such choice.{guess} Choices: {', '.join(known)}."

    def option_faults(self, overrides: Sequence[Override], config: DictConfig, typed: Sequence[Override]) -> list[str]:
        """Options that do not exist.

        Args:
            overrides: of one run or of one cell of a sweep.
            config: what its choices make, before any value is changed.
            typed: the command line that it is a cell of.
        """
        tree = as_tree(config)
        as_typed = {o.key_or_group: o for o in typed}
        wrong = [o for o in overrides if not self.is_choice(o) and not has_place(tree, o)]
        return [self._option_fault(as_typed.get(o.key_or_group, o), config, tree, as_typed) for o in wrong]

    def _option_fault(self, override: Override, config: DictConfig, tree: Any, as_typed: dict[str, Override]) -> str:
        key, line = override.key_or_group, str(override.input_line)
        value = line.partition("=")[2]
        parent, _, name = key.rpartition(".")
        group = key.partition(".")[0]
        siblings = find(tree, parent) if parent else None
        if group not in self.groups or not isinstance(siblings, dict):
            meant = self._meant(key, value, tree)
            guess = f" Did you mean {meant}?" if meant else ""
            return f"{line}: no option or group is called {key}.{guess} List them: {self.command} --help, or --cfg job"
        used = config.hydra.runtime.choices.get(group)
        lacking = f"{line}: {f'{group}={used}' if used else f'the {group} of the run'} has no option {name}"
        own = ", ".join(f"{parent}.{sibling}" for sibling in siblings if not str(sibling).startswith("_")) or "none"
        having = [c for c in self.choices(group) if c != used and self._has(group, c, key.partition(".")[2])]
        if not having:
            meant = nearest(name, list(siblings))
            guess = f" Did you mean {parent}.{meant}={value}?" if meant else ""
            return f"{lacking}.{guess} Its options: {own}."
        lacking += f"; {' and '.join(f'{group}={choice}' for choice in having)} has."
        if group in as_typed and as_typed[group].is_sweep_override():
            return lacking
        return f"{lacking} Write {group}={having[0]} {line}, or leave {key} out. Its own options: {own}."

    def _has(self, group: str, choice: str, name: str) -> bool:
        loaded = self._load(f"{group}/{choice}")
        return loaded is not None and find(as_tree(loaded.config), name, ABSENT) is not ABSENT

    def _meant(self, key: str, value: str, tree: Any) -> str | None:
        """`group=choice` or `option=value` nearest to what was written."""
        if "." not in key:
            if first := nearest(key, [*self.groups, *(name for name in tree if name != "hydra")]):
                return f"{first}={value}"
            if holder := next((group for group in self.groups if value in self.choices(group)), None):
                return f"{holder}={value}"
        paths = [path for path in _paths(tree) if path.startswith("hydra.") == key.startswith("hydra.")]
        last = {path.rpartition(".")[2]: path for path in paths}
        path = nearest(key, paths) or last.get(nearest(key.rpartition(".")[2], list(last)) or "")
        return f"{path}={value}" if path else None


def nearest(word: str, known: Sequence[str]) -> str | None:
    """The one of `known` that a mistyped word most probably meant."""
    return other_case(word, known) or next(iter(difflib.get_close_matches(word, known, n=1)), None)


def find(tree: Any, path: str, absent: Any = None) -> Any:
    """What stands at a dotted path in nested dicts and lists, or `absent`."""
    for part in path.split("."):
        if isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        elif isinstance(tree, dict) and part in tree:
            tree = tree[part]
        else:
            return absent
    return tree


def as_tree(config: Any) -> Any:
    """A config as nested dicts and lists, nothing resolved."""
    return OmegaConf.to_container(config, resolve=False)


def has_place(tree: Any, override: Override) -> bool:
    """Whether a config (as nested dicts) has the option; one that is added with `+` needs only the node above it."""
    key = override.key_or_group.replace("[", ".").replace("]", "")
    if override.is_add() or override.is_force_add():
        parent = key.rpartition(".")[0]
        if key.startswith(("callbacks.", "logger.")):  # +callbacks.NAME._target_ makes a node
            parent = key.partition(".")[0]
        return isinstance(find(tree, parent, ABSENT), dict | None) if parent else key in tree
    return find(tree, key, ABSENT) is not ABSENT


def whole_node_fault(tree: Any, override: Override) -> str | None:
    """What is wrong with a dict or a list that is given for a node of options."""
    key, value = override.key_or_group, override.value()
    node = find(tree, key)
    if not (isinstance(node, dict) and node and isinstance(value, dict | list)):
        return None
    if isinstance(value, dict) and not set(value) - set(node):
        return None
    own = ", ".join(f"{key}.{name}" for name in node if not str(name).startswith("_"))
    return f"{cut(str(override.input_line))}: write the options of {key} one by one: {cut(own, MOST_NAMES)}."


def _is_group(default: Any) -> bool:
    return isinstance(default, GroupDefault) and not default.is_override()


def _paths(tree: Any, prefix: str = "") -> Iterator[str]:
    for name, below in tree.items() if isinstance(tree, dict) else ():
        if not str(name).startswith("_"):
            yield f"{prefix}{name}"
            yield from _paths(below, f"{prefix}{name}.")
