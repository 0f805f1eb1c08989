"""A table for any sweep: a row for each combination of the options in which its runs differ, over seeds and folds."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console

from style_match.cli.run_config import is_below
from style_match.cli.schema import as_typed
from style_match.cli.targets import conf_dir
from style_match.reporting.runs import FEATURES, PRIMARY, VARIES, Options, Run, mean_val_mrr, read_runs
from style_match.reporting.tables import make_tables, print_tables
from style_match.utils import progress
from style_match.utils.errors import UserError

# Columns of a task, where the runs have them; otherwise all that they have.
METRICS = {
    "couple": ("recall@5", "recall@10", "recall@20", PRIMARY),
    "style": ("precision@5", "precision@10", "map@r", PRIMARY),
}
FROZEN = "frozen backbone"


def specs_of(runs: Sequence[Run], against: str | None = None) -> dict[str, Any]:
    """Return a table for each task of the runs, as nodes of `conf/table`.

    Rows are sorted by val/mrr, the highest first, with the frozen backbone last where all runs share it.

    Args:
        runs: Finished runs.
        against: Label of the row that the others are compared with, such as "head.dim=256"; None for the first row.

    Raises:
        UserError: No row has that label.
    """
    tasks = list(dict.fromkeys(run.config.data.task for run in runs))
    specs = {}
    for task in tasks:
        own = [run for run in runs if run.config.data.task == task]
        specs["sweep" if len(tasks) == 1 else f"sweep_{task}"] = _spec(task, own, against)
    labels = [row["label"] for spec in specs.values() for row in spec["rows"].values()]
    if against is not None and not any(_same(against, label) for label in labels):
        raise UserError(f'report.against="{against}" is no row. Rows: {", ".join(labels)}.')
    return specs


def _spec(task: str, runs: Sequence[Run], against: str | None) -> dict[str, Any]:
    axes = swept_options(runs)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(" ".join(_typed(axis, run) for axis in axes) or "trained head", []).append(run)
    order = sorted(groups, key=lambda label: -(mean_val_mrr(groups[label]) or 0.0))
    rows: dict[str, Any] = {
        label: {
            "label": label,
            "model": "trained" if "trained" in groups[label][0].metrics else "frozen",
            "where": {axis: groups[label][0].value(axis) for axis in axes},
        }
        for label in order
    }
    if _shares_frozen(runs):
        rows[FROZEN] = {"label": FROZEN, "model": "frozen", "where": {}}
    base = next((label for label in rows if against is not None and _same(against, label)), order[0])
    for label, row in rows.items():
        if label != base:
            row["against"] = base
    swept = ", ".join(axis.removeprefix("choices.") for axis in axes)
    return {
        "title": f"Sweep over {swept}" if axes else "Sweep",
        "task": task,
        "metrics": _metrics(task, runs),
        "rows": rows,
        "may_differ": [*_differing(runs), FEATURES],
    }


def swept_options(runs: Sequence[Run]) -> list[str]:
    """Return the options that tell the runs apart, seeds and places aside: `choices.GROUP` or a dotted path.

    First come those typed in the runs' commands, in their order, then choices of groups, then other options. One that
    follows from those before it, as all options of a chosen group do, is left out.
    """
    axes: list[str] = []
    parts = 1
    for candidate in dict.fromkeys(_candidates(runs)):
        values = {repr([run.value(axis) for axis in (*axes, candidate)]) for run in runs}
        if len(values) > parts:
            axes.append(candidate)
            parts = len(values)
    return axes


def _candidates(runs: Sequence[Run]) -> Iterator[str]:
    groups = list(dict.fromkeys(group for run in runs for group in run.provenance["choices"]))
    differing = _differing(runs)
    for run in runs:
        for word in shlex.split(run.provenance.get("command", "")):
            key = word.partition("=")[0].lstrip("+~")
            if key in groups:
                yield f"choices.{key}"
            elif key in differing:
                yield key
    yield from (f"choices.{group}" for group in groups if "/" not in group)
    yield from differing


def _differing(runs: Sequence[Run]) -> list[str]:
    """Return the paths of the options in which the runs differ, seeds and places aside."""
    paths = dict.fromkeys(path for run in runs for path in run.options)
    return [
        path for path in paths if not is_below(path, VARIES) and len({repr(run.options.get(path)) for run in runs}) > 1
    ]


def _typed(axis: str, run: Run) -> str:
    """Return an option of a run as it is typed."""
    return f"{axis.removeprefix('choices.')}={as_typed(run.value(axis))}"


def _same(one: str, other: str) -> bool:
    return sorted(one.split()) == sorted(other.split())


def _shares_frozen(runs: Sequence[Run]) -> bool:
    """Return whether the runs were trained and had the same frozen backbone on each test set."""
    frozen: dict[Any, Any] = {}
    return all(
        "trained" in run.metrics and frozen.setdefault(run.test_set, run.metrics["frozen"]) == run.metrics["frozen"]
        for run in runs
    )


def _metrics(task: str, runs: Sequence[Run]) -> list[str]:
    sections: list[Mapping[str, Any]] = [run.metrics["frozen"] for run in runs]
    shared = [name for name, cell in sections[0].items() if isinstance(cell, Mapping) and name != "median_rank"]
    shared = [name for name in shared if all(name in section for section in sections)]
    usual = [name for name in METRICS[task] if name in shared]
    return usual if len(usual) > 1 else shared


def print_summary(sweep: Path) -> None:
    """Print the table of a sweep's finished runs, and the command of its full report."""
    runs, _ = read_runs(sweep)
    if not runs:
        return
    report = OmegaConf.load(conf_dir() / "report.yaml").report
    options = replace(Options.from_config(report), leave_out=("lacking",))
    specs = specs_of(runs)
    for row in (row for spec in specs.values() for row in spec["rows"].values()):
        row.pop("against", None)  # the report compares
    try:
        print_tables(make_tables(specs, runs, options), Console(), brief=True)
    except UserError as error:
        progress.say(f"The runs are not in one table: {error}")
    presets = {str(run.provenance["choices"].get("experiment")) for run in runs}
    known = [f"table={name} " for name in presets if (conf_dir() / "table" / f"{name}.yaml").is_file()]
    table = known[0] if len(presets) == 1 and known else ""
    progress.say(f"Report with tests and pictures: python -m style_match.report {table}sweep={sweep}")
