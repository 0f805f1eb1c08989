"""What a command line will run: one run, or the cells of a sweep, composed and checked before the first one starts."""

import os
import re
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override

from style_match.cli import schema, sweep
from style_match.cli.run_config import read_config
from style_match.cli.schema import RULES
from style_match.cli.targets import refuse_unknown_targets
from style_match.cli.words import Vocabulary, as_tree, has_place, whole_node_fault
from style_match.utils.errors import UserError
from style_match.utils.files import on_disk
from style_match.utils.text import plain

# what a command line says about itself; never taken over from the run that `run=` names
OF_THE_COMMAND = ("hydra", "run", "ckpt_path", "progress", "debug")
# options that hold a path, which may be written as it is, in any script and with spaces
PATHS = {"data.root", "data.image_root", "split.store", "features.root", "backbone.path", "run", "ckpt_path"}
PATHS |= {"hydra.run.dir", "hydra.sweep.dir", "sweep", "out", "model", "runs"}
PATHS |= {"images", "profiles", "labeler.file", "labeler.folder", "labeler.audit"}
PATHS |= {"source", "metadata", "couples", "image_root", "index.root"}
# options that hold a text for this program, whatever signs Hydra's grammar has for something else
TEXTS = {"query", "where"}
# options that hold a text or a list of them; no word of YAML is meant, so that an id 1_2, true or null is that id
LISTS = {"profile"}
_ITEM = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'|[^,]+')
_BEFORE_QUOTE = re.compile(r'(\\*)"')
_INTERPOLATION = re.compile(r"(\\*)\$\{")


class Plan:
    """The cells of a command line (a single run is one cell) and all that is wrong with them.

    Attributes:
        config: what the choices of the command line make, before its values, with the `hydra` node.
        is_sweep: whether Hydra sweeps, asked for with `-m` or by an experiment.
    """

    def __init__(self, words: Vocabulary, typed: Sequence[str], *, multirun: bool):
        self.words = words
        parsed = words.parse([path_as_value(line) for line in typed])
        every_fold = [f"split.fold=range({folds})"] if (folds := folds_without_fold(parsed)) else []
        parsed += words.parse(every_fold)
        wrong = {o.key_or_group: words.choice_faults(o) for o in parsed}
        self.faults = [fault for faults in wrong.values() for fault in faults]
        # the options of a choice that does not exist cannot be judged
        lost = {key for key, faults in wrong.items() if faults}
        self.overrides = [o for o in parsed if o.key_or_group not in lost and o.key_or_group.split(".")[0] not in lost]
        chosen = lines(o for o in self.overrides if words.is_choice(o))
        tree = as_tree(words.compose(chosen, sweep=True))
        values = [o for o in self.overrides if not words.is_choice(o) and o.key_or_group not in RULES]
        wholes = {o.key_or_group: fault for o in values if (fault := whole_node_fault(tree, o))}
        self.faults += wholes.values()
        self.overrides = [o for o in self.overrides if o.key_or_group not in wholes]
        self.of_hydra = lines(o for o in self.overrides if o.key_or_group.startswith("hydra.") and has_place(tree, o))
        self.config = words.compose([*self.of_hydra, *chosen], sweep=True)
        self.is_sweep = multirun or bool(every_fold) or self.config.hydra.mode == RunMode.MULTIRUN
        self._only_in_run: set[str] = set()

    def check(self, *, words_only: bool = False) -> None:
        """Judge every word and, unless the config is only to be shown, every value of every cell.

        Raises:
            UserError: with the faults of all cells, each once.
        """
        self._refuse_sweep_without_m()
        swept = [*self._of_experiment(), *self.overrides] if self.is_sweep else self.overrides
        if self.is_sweep and not sweep.cells(swept):
            empty = [o.key_or_group for o in swept if o.is_discrete_sweep() and not list(o.sweep_string_iterator())]
            raise UserError(f"{' and '.join(empty)}: a sweep over no value at all; write at least one.")
        unknown: list[str] = []
        values: list[str] = []
        for cell in sweep.cells(swept) if self.is_sweep else [lines(swept)]:
            try:
                self._check_cell(self.words.parse(cell), swept, unknown, values)
            except UserError as error:
                unknown.append(str(error))
        faults = list(dict.fromkeys([*self.faults, *unknown, *([] if words_only else values)]))
        if unknown and self.is_sweep:
            tree_of = lambda choice: as_tree(self.words.compose([choice]))  # noqa: E731
            faults += sweep.as_commands(self.words.command, swept, tree_of)
        if faults:
            raise UserError("\n".join(faults))

    def _refuse_sweep_without_m(self) -> None:
        swept = lines(o for o in self.overrides if o.is_sweep_override()) if not self.is_sweep else []
        if swept and self.words.step == "report":
            remedy = "name the one folder that holds all runs; several tables are table=[table1,table3]."
            raise UserError(f"{' '.join(swept)}: one report takes one value of each: {remedy}")
        makes_runs = self.config.hydra.run.dir != "."
        if not makes_runs and (swept or self.is_sweep):
            raise UserError(
                f"{self.words.step} makes no runs to sweep over: give one command for each value, without -m."
            )
        if swept:
            raise UserError(f"{' '.join(swept)}: several values are a sweep: add -m, or write one value.")

    def for_hydra(self) -> list[str]:
        """The overrides to run with, once checked."""
        given = [_forced(o) if o.key_or_group in self._only_in_run else str(o.input_line) for o in self.overrides]
        if not self.is_sweep:
            return [*given, "hydra.mode=RUN"]
        # the folder is pinned, so that the cells are found whatever launcher and machine runs them
        pinned = f"hydra.sweep.dir={quoted(str(self.config.hydra.sweep.dir))}"
        # cells are named after what is swept alone
        swept = {o.key_or_group for o in self.overrides if o.is_sweep_override()}
        fixed = [quoted(o.key_or_group) for o in self.overrides if o.key_or_group not in swept]
        named = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(fixed)}]"
        return [*given, "hydra.mode=MULTIRUN", pinned, named]

    def num_cells(self) -> int | None:
        """How many cells a sweep has; None where an optimising sweeper decides."""
        if "params" in self.config.hydra.sweeper and "Basic" not in self.config.hydra.sweeper._target_:
            return None
        return len(sweep.cells([*self._of_experiment(), *self.overrides]))

    def _of_experiment(self) -> list[Override]:
        params = self.config.hydra.sweeper.get("params") or {}
        return self.words.parse([f"{key}={values}" for key, values in params.items()])

    def _check_cell(
        self, overrides: list[Override], typed: Sequence[Override], unknown: list[str], values: list[str]
    ) -> None:
        chosen = lines(o for o in overrides if self.words.is_choice(o))
        base = composed = self.words.compose([*self.of_hydra, *chosen], sweep=True)
        if run := next((str(o.value()) for o in reversed(overrides) if o.key_or_group == "run" and o.value()), None):
            if faults := list(schema.path_faults(OmegaConf.create({"run": run}), ["run"])):
                raise UserError("\n".join(faults))
            base = self._over_run(run, composed, chosen)
        here, there = as_tree(composed), as_tree(base)
        unknown += self.words.option_faults(overrides, base, typed)
        sound = [o for o in overrides if not self.words.is_choice(o) and has_place(there, o) and not o.is_delete()]
        self._only_in_run.update(o.key_or_group for o in sound if not has_place(here, o))
        config = deepcopy(base)
        for override in sound:
            OmegaConf.update(config, override.key_or_group, override.value(), merge=True, force_add=True)
        values += schema.faults(config, base, step=self.words.step)
        values += schema.path_faults(config, PATHS)
        typed_keys = {o.key_or_group for o in typed}
        if "data.root" in typed_keys and "data" not in typed_keys and OmegaConf.select(config, "data.synthetic"):
            kind, root = str(config.data.name).removeprefix("demo_"), config.data.root
            values.append(
                f"data.root={root}: {config.data.name} is drawn, it reads no photos. For your own write data={kind} "
                f"data.root={root}; to draw there, data={config.data.name} too."
            )

    @staticmethod
    def _over_run(run: str, composed: DictConfig, chosen: list[str]) -> DictConfig:
        was = read_config(run)
        refuse_unknown_targets(was, run, composed.hydra.runtime.config_sources)
        OmegaConf.update(composed := deepcopy(composed), "run", run)
        merged = merge_run_config(was, composed, chosen)
        choices = merged.hydra.runtime.choices
        asked = {line.partition("=")[0] for line in chosen}
        choices.update({group: None for group in choices if group not in asked})  # the run's own are not known by name
        return merged


def merge_run_config(run_cfg: DictConfig, composed_cfg: DictConfig, task_overrides: Sequence[str]) -> DictConfig:
    """The config of a run, with what a command line asks for in it.

    A choice of a group replaces the group's whole node, a value replaces a value; everything else stays as the run
    had it. What the run's config lacks (it may be of an older version) is taken from the composed one.

    Args:
        run_cfg: of the run folder (`read_config`).
        composed_cfg: of the command line that names the run.
        task_overrides: that command line's words, such as `data=demo_couples` or `evaluation.ks=[1]`.
    Raises:
        UserError: an experiment or a table row, which would change the run's config everywhere.
    """
    merged = deepcopy(run_cfg)
    with flag_override(merged, ["struct", "readonly"], False):
        for key in composed_cfg:
            if key in OF_THE_COMMAND or key not in merged:
                merged[key] = deepcopy(composed_cfg._get_node(key))
        for override in OverridesParser.create().parse_overrides(list(task_overrides)):
            key, value = override.key_or_group, override.value()
            if key in ("experiment", "recipe", "row"):
                raise UserError(f"{override.input_line}: run={merged.get('run')} has its own config; leave {key} out.")
            if key.split(".")[0].split("/")[0] in OF_THE_COMMAND:
                continue
            node = composed_cfg._get_node(key) if key in composed_cfg else None
            if isinstance(node, DictConfig) and not isinstance(value, dict):
                merged[key] = deepcopy(node)
            else:
                OmegaConf.update(merged, key, value, merge=True, force_add=True)
    return merged


def folds_without_fold(overrides: Iterable[Override]) -> int | None:
    """The number of folds, where a command line asks for folds and does not say which."""
    values = {o.key_or_group: o.value() for o in overrides}
    folds = values.get("split.folds")
    return folds if isinstance(folds, int) and folds > 1 and "split.fold" not in values else None


def path_as_value(line: str) -> str:
    """An override whose value is a path that Hydra's grammar cannot read, or a text, with the quotes that it needs.

    A path is spelled as the disk has it, a text that tables and metadata are compared with as `plain`.
    """
    key, equals, path = line.partition("=")
    if not (key.lstrip("+") in PATHS | TEXTS or key.lstrip("+").startswith("prompt.")):
        key, equals, path = (line := plain(line)).partition("=")
    if equals and key.lstrip("+") in LISTS:
        return f"{key}={_as_texts(path)}"
    if equals and key.lstrip("+") in TEXTS:
        return line if path in ("", "null") else f"{key}={_as_text(path)}"
    if equals and key in PATHS:
        return line if _is_read_as(line, path) else f"{key}={_as_text(str(on_disk(Path(path))))}"
    return line


def _is_read_as(line: str, path: str) -> bool:
    """Whether Hydra reads the value of an override as this path, or as something else that was meant."""
    try:
        override = OverridesParser.create().parse_override(line)
    except HydraException:
        return False
    value = override.value()
    if path in ("", "null", "???") or isinstance(override._value, QuotedString):
        return True
    if value == path and path.isascii() and "${" not in path:
        return True
    return not (os.path.lexists(on_disk(Path(path))) or isinstance(value, bool | int | float))


def _as_texts(value: str) -> str:
    """A value, or the items of a list in brackets, each in the quotes that keep it a text."""
    if value.startswith("[") and value.endswith("]"):
        items = (item.strip() for item in _ITEM.findall(value[1:-1]))
        return f"[{','.join(_as_texts(item) for item in items if item)}]"
    return _as_text(value)


def _as_text(value: str) -> str:
    """A value in quotes, in which ${ is no interpolation but two signs like any other."""
    value = value if _is_quoted(f"text={value}") else quoted(value)
    return _INTERPOLATION.sub(lambda found: 2 * found[1] + r"\${", value)


def _is_quoted(line: str) -> bool:
    """Whether the value of an override is one text in quotes, as Hydra's grammar has it."""
    try:
        return isinstance(OverridesParser.create().parse_override(line)._value, QuotedString)
    except HydraException:
        return False


def quoted(value: str) -> str:
    """A value as Hydra's grammar reads it back, whatever signs are in it."""
    behind = len(value) - len(value.rstrip("\\"))  # a backslash before a quote would hide it
    return '"' + _BEFORE_QUOTE.sub(r'\1\1\\"', value) + "\\" * behind + '"'


def lines(overrides: Iterable[Override]) -> list[str]:
    return [str(override.input_line) for override in overrides]


def _forced(override: Override) -> str:
    return f"++{str(override.input_line).lstrip('+')}"
