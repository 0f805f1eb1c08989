"""What a command line runs: one run, or the jobs of a sweep, each composed and checked before the first one starts."""

import itertools
from collections.abc import Iterable, Sequence
from copy import deepcopy

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, flag_override, read_write
from omegaconf.errors import OmegaConfBaseException

from style_match.cli import schema
from style_match.cli.quoting import as_text, path_as_value, quoted
from style_match.cli.run_config import merge_run_config, read_config
from style_match.cli.targets import refuse_unknown_targets
from style_match.cli.words import Composer, as_tree, find
from style_match.utils.errors import UserError


class Plan:
    """The jobs of a command line (a single run is one job) and everything that is wrong with them.

    Attributes:
        config: Of the first job, with its `hydra` node, once `check` has passed.
        jobs: The overrides of every job, in the order in which Hydra's own sweeper numbers them.
        is_sweep: Whether Hydra sweeps: by `-m`, by an experiment or over all folds.
    """

    config: DictConfig

    def __init__(self, composer: Composer, typed: Sequence[str], *, multirun: bool):
        self.composer = composer
        parsed = composer.parse([path_as_value(line) for line in typed])
        every_fold = [f"split.fold=range({folds})"] if (folds := folds_without_fold(parsed)) else []
        parsed += composer.parse(every_fold)
        found = {o.key_or_group: composer.choice_faults(o) for o in parsed}
        self._faults = [fault for faults in found.values() for fault in faults]
        # the options of a choice that does not exist are not checked
        wrong = {key for key, faults in found.items() if faults}
        self.overrides = [o for o in parsed if not {o.key_or_group, o.key_or_group.split(".")[0]} & wrong]
        choices = [o for o in self.overrides if composer.is_choice(o) and not o.is_sweep_override()]
        base = composer.compose(_lines(choices))
        mode = next((str(o.value()) for o in reversed(parsed) if o.key_or_group == "hydra.mode"), base.hydra.mode)
        self.is_sweep = multirun or bool(every_fold) or mode in ("MULTIRUN", RunMode.MULTIRUN)
        params = (base.hydra.sweeper.get("params") or {}) if self.is_sweep else {}
        swept = {o.key_or_group: o for o in composer.parse([f"{key}={values}" for key, values in params.items()])}
        swept |= {o.key_or_group: o for o in self.overrides}
        self.jobs = _jobs(list(swept.values())) if self.is_sweep else [_lines(self.overrides)]
        self._swept = [o for o in swept.values() if o.is_sweep_override()]
        self._refuse_sweep(base)
        self._only_in_run: set[str] = set()
        # an optimizing sweeper decides on the way
        is_optimizing = bool(params) and "Basic" not in base.hydra.sweeper._target_
        self.num_jobs = None if is_optimizing else len(self.jobs)

    def check(self, *, values: bool = True) -> None:
        """Check every key, and with `values` every value, of every job.

        Raises:
            UserError: With the faults of all jobs, each once.
        """
        of_keys, of_values = list(self._faults), list[str]()
        for job in self.jobs:
            try:
                self._check_job(self.composer.parse(job), of_keys, of_values)
            except UserError as error:
                of_keys.append(str(error))
        if found := list(dict.fromkeys([*of_keys, *(of_values if values else [])])):
            raise UserError("\n".join(found))

    def for_hydra(self, output_dir: str) -> list[str]:
        """Return the overrides to run with, once checked.

        Args:
            output_dir: `hydra.run.dir` or `hydra.sweep.dir`, resolved once for all jobs, wherever these run.
        """
        lines = [
            f"++{str(o.input_line).lstrip('+')}" if o.key_or_group in self._only_in_run else str(o.input_line)
            for o in self.overrides
        ]
        if not self.is_sweep:
            return [*lines, f"hydra.run.dir={as_text(output_dir)}"]
        swept = {o.key_or_group for o in self._swept}  # only these name the folder of a job
        fixed = [quoted(o.key_or_group) for o in self.overrides if o.key_or_group not in swept]
        named = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(fixed)}]"
        return [*lines, "hydra.mode=MULTIRUN", f"hydra.sweep.dir={as_text(output_dir)}", named]

    def _refuse_sweep(self, base: DictConfig) -> None:
        swept = " ".join(_lines(self._swept))
        if not self.jobs:
            empty = [o.key_or_group for o in self._swept if o.is_discrete_sweep() and not _values(o)]
            raise UserError(f"{' and '.join(empty)}: this sweep has no values.")
        step = self.composer.step
        if step == "report" and swept:
            raise UserError(
                f"{swept}: a report takes one value each. Set sweep to the folder of all runs; several tables are "
                "table=[table1,table3]."
            )
        if base.hydra.run.dir == "." and (swept or self.is_sweep):  # the step writes no run folders
            raise UserError(f"style_match.{step} cannot be swept. Run one command for each value, without -m.")
        if swept and not self.is_sweep:
            raise UserError(f"{swept}: several values are a sweep. Add -m, or set one value.")

    def _check_job(self, overrides: list[Override], of_keys: list[str], of_values: list[str]) -> None:
        choices = _lines(o for o in overrides if self.composer.is_choice(o))
        base = composed = self.composer.compose(choices)
        if run := next((str(o.value()) for o in reversed(overrides) if o.key_or_group == "run" and o.value()), None):
            if faults := list(schema.path_faults(OmegaConf.create({"run": run}), ["run"])):
                raise UserError("\n".join(faults))
            base = _over_run(run, composed, choices, overrides)
        swept, here = {o.key_or_group for o in self._swept}, as_tree(composed)
        config = deepcopy(base)
        with read_write(config), read_write(config.hydra):
            for override in overrides:
                if self.composer.is_choice(override):
                    continue
                if fault := self.composer.option_fault(self._as_typed(override), base, swept=swept):
                    of_keys.append(fault)
                elif not override.is_delete():
                    key, value = override.key_or_group, override.value()
                    try:
                        OmegaConf.update(config, key, value, merge=True, force_add=True)
                    except OmegaConfBaseException as error:
                        of_values.append(f"{override.input_line}: {str(error).splitlines()[0]}.")
                    if find(here, key, here) is here:
                        self._only_in_run.add(key)
            config.hydra.runtime.output_dir = "."  # not known yet
        with _current(config):
            of_values += schema.faults(config, base, step=self.composer.step)
            of_values += schema.path_faults(config)
            of_values += self._demo_fault(config)
        if not hasattr(self, "config"):
            self.config = config

    def _as_typed(self, override: Override) -> Override:
        return next((o for o in self._swept if o.key_or_group == override.key_or_group), override)

    def _demo_fault(self, config: DictConfig) -> list[str]:
        """`data.root` for data that is drawn, not read."""
        typed = {o.key_or_group for o in self.overrides}
        if "data.root" not in typed or "data" in typed or not OmegaConf.select(config, "data.synthetic"):
            return []
        name, root = str(config.data.name), config.data.root
        return [
            f"data.root={root}: data={name} draws its photos. To read your own, set data={name.removeprefix('demo_')} "
            f"data.root={root}; to draw into that folder, set data={name} too."
        ]


class _current:
    """A context in which `${hydra:...}` resolves by a config that is not run yet."""

    def __init__(self, config: DictConfig):
        self.config = config

    def __enter__(self) -> None:
        self.before = HydraConfig.instance().cfg
        HydraConfig.instance().set_config(self.config)

    def __exit__(self, *error: object) -> None:
        HydraConfig.instance().cfg = self.before


def folds_without_fold(overrides: Iterable[Override]) -> int | None:
    """Return the number of folds, if a command line sets `split.folds` and not `split.fold`."""
    values = {o.key_or_group: o.value() for o in overrides}
    folds = values.get("split.folds")
    return folds if isinstance(folds, int) and folds > 1 and "split.fold" not in values else None


def _over_run(run: str, composed: DictConfig, choices: list[str], overrides: list[Override]) -> DictConfig:
    was, command = read_config(run), deepcopy(composed)
    with flag_override(command, ["struct", "readonly"], False):
        for override in overrides:
            if override.key_or_group.endswith("._target_"):
                OmegaConf.update(command, override.key_or_group, override.value(), force_add=True)
    refuse_unknown_targets(was, run, command, composed.hydra.runtime.config_sources)
    OmegaConf.update(composed := deepcopy(composed), "run", run)
    merged = merge_run_config(was, composed, choices)
    merged.hydra = composed.hydra
    chosen = {line.partition("=")[0] for line in choices}
    with read_write(merged.hydra):
        for group in merged.hydra.runtime.choices:
            if group not in chosen:
                merged.hydra.runtime.choices[group] = None  # the choices of the run are not known by name
    return merged


def _jobs(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of every job; an interval of an optimizing sweeper is represented by its lower end."""
    rows = []
    for override in overrides:
        key = override.get_key_element()
        if override.is_discrete_sweep():
            rows.append([f"{key}={value}" for value in _values(override)])
        elif override.is_interval_sweep():
            rows.append([f"{key}={getattr(override.value(), 'start', None)}"])
        else:
            rows.append([str(override.input_line)])
    return [list(job) for job in itertools.product(*rows)]


def _values(override: Override) -> list[str]:
    return list(override.sweep_string_iterator())


def _lines(overrides: Iterable[Override]) -> list[str]:
    return [str(override.input_line) for override in overrides]
