"""Which runs stand in which row of a table, and whether the rows may be compared at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from style_match.comparison.runs import Queries, Run, TestSet
from style_match.errors import UserError
from style_match.run_config import PACE

# what may differ between runs that are reported together: seeds, where the data is, pace
VARIES: tuple[str, ...] = (
    "seed",
    "split.seed",
    "split.fold",
    "split.store",
    "data.world_seed",
    "data.root",
    "data.image_root",
    "picture",
    *PACE,
)
TRAINING: tuple[str, ...] = ("head", "loss", "sampler", "balance", "optimizer", "scheduler", "trainer", "encode")
FEATURES = "features.key"
PROMPT = "prompt"
ANY_RECIPE = "choices.recipe"
# what conf/recipe sets: rows that are chosen by their recipe may differ in it
OF_RECIPE: tuple[str, ...] = (
    "prompt",
    "pooling",
    "head",
    "loss",
    "optimizer",
    "backbone.layer",
    "evaluation.csls_k",
    FEATURES,
)


@dataclass(frozen=True)
class Row:
    """A row of a table with its runs.

    Attributes:
        model: chance, frozen or trained.
        against: name of the row it is compared with.
        paper: the printed numbers in percent, by metric.
        runs: by test set and seed; the seed of what is not trained is None.
        folders: of all runs that fit, also of those that say the same as one of `runs`.
    """

    name: str
    label: str
    model: str
    against: str | None
    paper: Mapping[str, float]
    where: Mapping[str, Any]
    runs: dict[tuple[TestSet, int | None], Run] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)

    @property
    def seeds(self) -> list[int | None]:
        return sorted({seed for _, seed in self.runs}, key=lambda seed: -1 if seed is None else seed)

    def on(self, test_set: TestSet) -> list[Run]:
        """The runs on one test set, in the order of the seeds."""
        return [self.runs[test_set, seed] for seed in self.seeds if (test_set, seed) in self.runs]

    @property
    def test_sets(self) -> list[TestSet]:
        return sorted({test_set for test_set, _ in self.runs}, key=str)


def match(spec: Mapping[str, Any], runs: Sequence[Run]) -> list[Row]:
    """The rows of a table (`conf/table`) with those runs that fit; rows without runs are left out.

    Raises:
        UserError: two runs of one row differ in more than seeds and data, or say different things about one seed; a row
            is compared with one that the table does not have.
    """
    rows = []
    for name, row in spec["rows"].items():
        if row.get("against") not in (None, *spec["rows"]):
            raise UserError(f"The row {name} is compared with {row['against']}, which the table has not.")
        where = {**spec.get("where", {}), **row.get("where", {})}
        made = Row(name, row["label"], row["model"], row.get("against"), row.get("paper") or {}, where)
        for run in runs:
            if run.config.data.task == spec["task"] and all(run.value(path) == value for path, value in where.items()):
                _add(made, run)
        if made.runs:
            _refuse_mixed(made)
            rows.append(made)
    return rows


def _add(row: Row, run: Run) -> None:
    if row.model not in run.metrics:
        raise UserError(f"{run.folder} has no results of a {row.model} model, which the row {row.name} shows.")
    unit = (run.test_set, run.config.seed if row.model == "trained" else None)
    other = row.runs.setdefault(unit, run)
    row.folders.add(run.folder)
    if other.metrics[row.model] != run.metrics[row.model]:
        raise UserError(
            f"Two runs say different things about the row {row.name} ({unit[0]}, seed {unit[1]}): {other.folder} and "
            f"{run.folder}. They differ in {_named(_differences(other, run, ())) or 'code or machine'}; keep one."
        )


def _refuse_mixed(row: Row) -> None:
    first, *others = row.runs.values()
    for other in others:
        if found := _differences(first, other, _passed_over(row)):
            raise UserError(
                f"The row {row.name} would mix runs that differ in {_named(found)}: {first.folder} and {other.folder}. "
                "Report one sweep at a time."
            )


def refuse_changed_data(table: str, rows: Sequence[Row]) -> None:
    """Refuses one dataset before and after a change: its runs are no independent datasets.

    Raises:
        UserError: runs of one dataset folder with different fingerprints, by name.
    """
    first: dict[tuple[str, Any], Run] = {}
    for run in (run for row in rows for run in row.runs.values()):
        folder = run.provenance["data"]["folder"]
        other = first.setdefault((folder, run.value("data.world_seed")), run)  # worlds may be drawn in one folder
        if other.test_set.data != run.test_set.data:
            raise UserError(
                f"{table}: the dataset {folder} changed between the runs {other.folder} "
                f"({other.test_set.data[:8]}) and {run.folder} ({run.test_set.data[:8]}), so they cannot stand in one "
                "table. Run the older ones again, or report the folders one at a time."
            )


def refuse_unlike(table: str, rows: Sequence[Row]) -> None:
    """Refuses rows that do not answer the same questions.

    Raises:
        UserError: rows with different test sets or seeds, options besides those that tell the rows apart, features of
            different backbones, queries or galleries; the differing fields are named.
    """
    _refuse_missing(table, rows)
    first, named = rows[0], {row.name: row for row in rows}
    for test_set in first.test_sets:
        for row in rows:
            for run in row.on(test_set):
                if found := _other_questions(first.on(test_set)[0].queries(first.model), run.queries(row.model)):
                    raise _unlike(table, (first, row), test_set, found, (first.on(test_set)[0], run))
            for other in {id(one): one for one in (first, named.get(row.against or "", first))}.values():
                one, two = other.on(test_set)[0], row.on(test_set)[0]
                apart = _told_apart(other, row)
                apart = (*apart, *OF_RECIPE) if ANY_RECIPE in apart else apart
                # without a photo fewer poolings are kept, which the features' key tells
                apart = (*apart, FEATURES) if PROMPT in apart else apart
                if found := _differences(one, two, (*_passed_over(other), *_passed_over(row), *apart)):
                    raise _unlike(table, (other, row), test_set, found, (one, two))


def _unlike(
    table: str, rows: tuple[Row, Row], test_set: TestSet, found: Iterable[str], runs: tuple[Run, Run]
) -> UserError:
    return UserError(
        f"{table}: the rows {rows[0].name} and {rows[1].name} cannot be compared on {test_set}: they differ in "
        f"{_named(found)} ({runs[0].folder}, {runs[1].folder})."
    )


def _other_questions(one: Queries, other: Queries) -> list[str]:
    if one.asked != other.asked:
        return ["test queries"]
    return ["gallery"] if (one.columns["gallery"] != other.columns["gallery"]).any() else []


def _passed_over(row: Row) -> tuple[str, ...]:
    return VARIES if row.model == "trained" else VARIES + TRAINING


def _told_apart(one: Row, other: Row) -> tuple[str, ...]:
    """What the two rows are chosen by differently: the option, or the whole group whose choice it tells."""
    paths = [path for path in {**one.where, **other.where} if one.where.get(path) != other.where.get(path)]
    return tuple(path.removesuffix("._target_").removesuffix(".name") for path in paths)


def _refuse_missing(table: str, rows: Sequence[Row]) -> None:
    sets = {test_set for row in rows for test_set in row.test_sets}
    seeds = {seed for row in rows for seed in row.seeds if seed is not None}
    lacks = []
    for row in rows:
        for test_set in sorted(sets, key=str):
            wanted: Iterable[int | None] = sorted(seeds) if row.model == "trained" else [None]
            lacks += [f"{row.name}: {_unit(test_set, seed)}" for seed in wanted if (test_set, seed) not in row.runs]
    if lacks:
        raise UserError(
            f"{table}: not every row has every test set and seed, so they cannot be compared. Lacking:\n  "
            + "\n  ".join(lacks)
            + "\nRun them (the same sweep with its hydra.sweep.dir goes on), or say report.leave_out=[lacking] to "
            "compare on what all rows have."
        )


def keep_common(table: str, rows: Sequence[Row]) -> list[str]:
    """Take away the test sets and seeds that some row lacks; says which.

    Raises:
        UserError: nothing is left.
    """
    sets = set.intersection(*(set(row.test_sets) for row in rows))
    trained = [row for row in rows if row.model == "trained"]
    of_each = [{seed for unit, seed in row.runs if unit == test_set} for row in trained for test_set in sets]
    seeds = set.intersection(*of_each) if of_each else set()
    if not sets or (trained and not seeds):
        raise UserError(f"{table}: there is no {'seed' if sets else 'test set'} that all rows have. Run more of them.")
    gone = []
    for row in rows:
        for test_set, seed in list(row.runs):
            if test_set not in sets or (row.model == "trained" and seed not in seeds):
                gone.append(f"{row.name}: {_unit(test_set, seed)} ({row.runs.pop((test_set, seed)).folder})")
    return gone


def _unit(test_set: TestSet, seed: int | None) -> str:
    return f"{test_set}" + ("" if seed is None else f", seed {seed}")


def _differences(one: Run, other: Run, passed_over: Sequence[str]) -> list[str]:
    """Paths of the config whose values differ, and the identity of the features if it does."""
    mine, its = one.options, other.options
    found = [
        path
        for path in dict.fromkeys([*mine, *its])
        if mine.get(path) != its.get(path) and not any(path == p or path.startswith(f"{p}.") for p in passed_over)
    ]
    same = one.provenance["features"]["key"] == other.provenance["features"]["key"]
    return found if same or FEATURES in passed_over else [*found, FEATURES]


def _named(paths: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(paths))
