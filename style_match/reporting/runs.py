"""Finished runs below a sweep folder, the rows of a table that they belong to, and whether rows can be compared."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from style_match.cli.run_config import FAILED, NO_EFFECT_ON_RESULTS, is_below, leaves, read_config
from style_match.cli.sweep import REPLACED
from style_match.utils.errors import UserError

PRIMARY = "mrr"  # the metric that is tested and gets a verdict

# Options that may differ between the runs of one row: seeds, places, and what has no effect on results.
VARIES = (
    "seed",
    "split.seed",
    "split.fold",
    "split.store",
    "data.world_seed",
    "data.root",
    "data.image_root",
    "picture",
    "callbacks.best.dirpath",
    "callbacks.last.dirpath",
    *NO_EFFECT_ON_RESULTS,
)
# Options of training, which have no effect on chance and on the frozen backbone.
TRAINING = ("head", "loss", "sampler", "balance", "optimizer", "scheduler", "trainer", "callbacks", "encode")
FEATURES = "features.key"
# Options that conf/recipe sets, in which rows of different recipes may differ.
OF_RECIPE = ("prompt", "pooling", "head", "loss", "optimizer", "backbone.layer", "evaluation.csls_k", FEATURES)


@dataclass(frozen=True)
class Options:
    """How the report estimates; see conf/report.yaml."""

    confidence: float
    alpha: float
    num_resamples: int
    seed: int
    min_seeds: int
    gallery: int | None
    leave_out: Sequence[str]

    @classmethod
    def from_config(cls, report: Mapping[str, Any]) -> Options:
        """Return the options of the node `report` of the step's config."""
        return cls(**{field.name: report[field.name] for field in fields(cls)})


# ---------------------------------------------------------------- reading runs


@dataclass(frozen=True, order=True)
class TestSet:
    """The queries that a run was tested on.

    Attributes:
        data: Fingerprint of the dataset.
        split_seed: Seed of the split.
        fold: Fold that is the test part; None without folds.
    """

    data: str
    split_seed: int
    fold: int | None

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"data {self.data[:8]}, split.seed={self.split_seed}{fold}"


class Queries:
    """The queries of one model of one run, sorted by query, direction and partner.

    Args:
        rows: Rows of ranks.parquet as a pyarrow table.

    Attributes:
        columns: Name to column (Q,).
        questions: (Q,) hashable; equal in two runs that were tested on the same queries.
    """

    def __init__(self, rows: Any):
        self.columns: dict[str, NDArray] = {name: rows[name].to_numpy() for name in rows.column_names}
        self.questions = list(zip(self.columns["query"], self.columns["direction"], strict=True))
        # for styles the partner is the best answer, not part of the question
        if "among_profiles" not in self.columns["direction"]:
            self.questions = list(zip(self.questions, self.columns["partner"], strict=True))

    def score(self, metric: str) -> NDArray:
        """Return (Q,) float64 in [0, 1] of a metric that is a mean over queries."""
        name, _, k = metric.partition("@")
        if name == "recall":
            return (self.columns["rank"] <= int(k)).astype(float)
        return 1 / self.columns["rank"] if metric == "mrr" else self.columns[metric].astype(float)


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run folder."""

    folder: Path
    config: DictConfig
    provenance: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @cached_property
    def options(self) -> dict[str, Any]:
        """The values of the config by their dotted paths."""
        return leaves(self.config)

    @property
    def test_set(self) -> TestSet:
        """The queries of its test."""
        return TestSet(self.provenance["data"]["fingerprint"], self.config.split.seed, self.config.split.get("fold"))

    def value(self, path: str) -> Any:
        """Return a value of the config by its dotted path; `choices.GROUP` is the choice of a config group."""
        group = path.removeprefix("choices.")
        if group != path:
            return self.provenance["choices"].get(group)
        value = OmegaConf.select(self.config, path)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    def table(self, name: str) -> Any:
        """Return a Parquet file of the run as a pyarrow table.

        Raises:
            UserError: The file is missing or damaged.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_table(self.folder / name)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{self.folder / name} cannot be read ({error}). Run its command again.") from error

    @cached_property
    def gallery_ids(self) -> tuple[str, ...]:
        """The profiles of the test split of styles, also those that are neither query nor answer."""
        from safetensors import safe_open

        with safe_open(self.folder / "embeddings.safetensors", "np") as file:
            return tuple(json.loads(file.metadata()["ids"]))

    def queries(self, model: str) -> Queries:
        """Return the queries of a model; those of chance are the frozen backbone's."""
        return self._queries["frozen" if model == "chance" else model]

    @cached_property
    def _queries(self) -> dict[str, Queries]:
        import pyarrow.compute as pc

        ranks = self.table("ranks.parquet")
        if "cluster" not in ranks.column_names:
            raise UserError(f"{self.folder}/ranks.parquet is of an earlier version. Run its command again.")
        rows = ranks.sort_by([(name, "ascending") for name in ("query", "direction", "partner")])
        return {
            model: Queries(rows.filter(pc.equal(rows["model"], model)))
            for model in pc.unique(rows["model"]).to_pylist()
        }


@dataclass(frozen=True)
class LeftOut:
    """A run that no table can use.

    Attributes:
        folder: Its folder.
        kind: "unfinished", "failed" or "foreign".
        why: The reason.
    """

    folder: Path
    kind: str
    why: str


def read_runs(sweep: Path) -> tuple[list[Run], list[LeftOut]]:
    """Return the runs in a folder and below, without those that a newer run replaced.

    Raises:
        UserError: There is no such folder, or no run in it.
    """
    if not sweep.is_dir():
        raise UserError(f"sweep={sweep}: there is no such folder. Sweeps are listed under runs/train/.")
    read = [_read(folder) for folder in sorted(_folders(sweep))]
    if not read:
        raise UserError(f"sweep={sweep} contains no run. Set the folder of a sweep, or of one run.")
    return [each for each in read if isinstance(each, Run)], [each for each in read if isinstance(each, LeftOut)]


def mean_val_mrr(runs: Iterable[Run]) -> float | None:
    """Return the mean val/mrr of runs; None if none has a validation result."""
    values = [run.metrics["val"][PRIMARY]["value"] for run in runs if "val" in run.metrics]
    return sum(values) / len(values) if values else None


def refuse_left_out(left_out: Sequence[LeftOut], allowed: Sequence[str]) -> None:
    """Refuse runs that no table can use, except the kinds that `report.leave_out` allows.

    Raises:
        UserError: Such runs, with their number and folders.
    """
    refused = [each for each in left_out if each.kind not in allowed]
    if refused:
        kinds = sorted({each.kind for each in refused})
        counts = " and ".join(f"{sum(each.kind == kind for each in refused)} {kind}" for kind in kinds)
        lines = [f"  {each.kind}: {each.folder}: {each.why}" for each in refused]
        raise UserError(
            "\n".join([f"The folder contains {counts} {'run' if len(refused) == 1 else 'runs'}:", *lines])
            + f"\nFinish or move them, or leave them out: report.leave_out=[{','.join([*allowed, *kinds])}]"
        )


def _folders(sweep: Path) -> Iterator[Path]:
    for folder, below, files in os.walk(sweep):
        if {"config.yaml", FAILED} & set(files):
            yield Path(folder)
            below.clear()  # W&B writes another config.yaml inside a run
        elif REPLACED in below:
            below.remove(REPLACED)


def _read(folder: Path) -> Run | LeftOut:
    if not (folder / "metrics.json").is_file():
        if not (folder / FAILED).is_file():
            return LeftOut(folder, "unfinished", "it has no metrics.json")
        error = json.loads((folder / FAILED).read_text(encoding="utf-8"))["error"]
        return LeftOut(folder, "failed", error.partition("\n")[0])
    try:
        provenance, metrics = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("provenance.json", "metrics.json")
        )
    except (OSError, ValueError) as error:
        return LeftOut(folder, "foreign", f"it cannot be read: {error}")
    missing = [name for name in ("synthetic", "choices", "data", "features") if name not in provenance]
    if missing:
        return LeftOut(folder, "foreign", f"it is of an earlier version: its provenance.json has no {missing[0]}")
    return Run(folder, read_config(folder), provenance, metrics)


# ---------------------------------------------------------------- rows of a table


@dataclass(frozen=True)
class Row:
    """A row of a table with its runs.

    Attributes:
        name: Name in the table's YAML.
        label: Text that is shown.
        model: "chance", "frozen" or "trained".
        against: Name of the row that it is compared with.
        paper: Metric to the number that the paper prints, in percent.
        where: Dotted path to the value that its runs have.
        may_differ: Options in which it may differ from other rows, beside those of `where`.
        runs: (test set, seed) to run; the seed is None for a model that is not trained.
        folders: Of all runs that match, including repetitions of one of `runs`.
    """

    name: str
    label: str
    model: str
    against: str | None
    paper: Mapping[str, float]
    where: Mapping[str, Any]
    may_differ: tuple[str, ...] = ()
    runs: dict[tuple[TestSet, int | None], Run] = field(default_factory=dict)
    folders: set[Path] = field(default_factory=set)

    @property
    def seeds(self) -> list[int | None]:
        """The seeds of its runs."""
        return sorted({seed for _, seed in self.runs}, key=lambda seed: -1 if seed is None else seed)

    @property
    def test_sets(self) -> list[TestSet]:
        """The test sets of its runs."""
        return sorted({test_set for test_set, _ in self.runs}, key=str)

    @property
    def first_run(self) -> Run:
        """One of its runs."""
        return next(iter(self.runs.values()))

    def on(self, test_set: TestSet) -> list[Run]:
        """Return the runs on one test set, in the order of the seeds."""
        return [self.runs[test_set, seed] for seed in self.seeds if (test_set, seed) in self.runs]


def match(spec: Mapping[str, Any], runs: Sequence[Run]) -> list[Row]:
    """Return the rows of a table (a node of `conf/table`) with the runs that match; rows without runs are left out.

    Raises:
        UserError: Two runs of a row differ in more than seeds and data, or have different results for one seed, or a
            row is compared with one that the table does not have.
    """
    rows = []
    for name, node in spec["rows"].items():
        if node.get("against") not in (None, *spec["rows"]):
            raise UserError(f"The row {name} is compared with {node['against']}, which is not in the table.")
        where = {**spec.get("where", {}), **node.get("where", {})}
        paper, may_differ = node.get("paper") or {}, tuple(spec.get("may_differ", ()))
        row = Row(name, node["label"], node["model"], node.get("against"), paper, where, may_differ)
        for run in runs:
            if run.config.data.task == spec["task"] and all(run.value(path) == value for path, value in where.items()):
                _add(row, run)
        if row.runs:
            _refuse_mixed(row)
            rows.append(row)
    return rows


def _add(row: Row, run: Run) -> None:
    if row.model not in run.metrics:
        raise UserError(f"{run.folder} has no results of a {row.model} model, which the row {row.name} shows.")
    unit = (run.test_set, run.config.seed if row.model == "trained" else None)
    other = row.runs.setdefault(unit, run)
    row.folders.add(run.folder)
    if other.metrics[row.model] != run.metrics[row.model]:
        raise UserError(
            f"Two runs have different results for the row {row.name} ({unit[0]}, seed {unit[1]}): {other.folder} and "
            f"{run.folder}. They differ in {', '.join(_differences(other, run, ())) or 'code or machine'}. Keep one."
        )


def _refuse_mixed(row: Row) -> None:
    first, *others = row.runs.values()
    for other in others:
        if found := _differences(first, other, (*_may_differ(row), *(row.may_differ if row.model == "frozen" else ()))):
            raise UserError(
                f"The row {row.name} would mix runs that differ in {', '.join(found)}: {first.folder} and "
                f"{other.folder}. Report one sweep at a time."
            )


# ---------------------------------------------------------------- comparing rows


def refuse_changed_data(table: str, rows: Sequence[Row]) -> None:
    """Refuse runs of a dataset from before and after a change: they are not runs on independent datasets.

    Raises:
        UserError: Two runs of one dataset folder with different fingerprints.
    """
    first: dict[tuple[str, Any], Run] = {}
    for run in (run for row in rows for run in row.runs.values()):
        folder = run.provenance["data"]["folder"]
        other = first.setdefault((folder, run.value("data.world_seed")), run)  # worlds may be drawn in one folder
        if other.test_set.data != run.test_set.data:
            raise UserError(
                f"{table}: the dataset {folder} changed between the runs {other.folder} ({other.test_set.data[:8]}) "
                f"and {run.folder} ({run.test_set.data[:8]}), so they cannot be in one table. Run the older ones "
                "again, or report the folders one at a time."
            )


def refuse_incomparable(table: str, rows: Sequence[Row]) -> None:
    """Refuse rows that cannot be compared.

    Raises:
        UserError: Rows with different test sets, seeds, queries, galleries or features, or with different options other
            than those that define the rows.
    """
    _refuse_missing(table, rows)
    first, by_name = rows[0], {row.name: row for row in rows}
    for test_set in first.test_sets:
        for row in rows:
            one = first.on(test_set)[0]
            for run in row.on(test_set):
                if found := _other_questions(one.queries(first.model), run.queries(row.model)):
                    raise _incomparable(table, (first, row), test_set, found, (one, run))
            for other in {id(each): each for each in (first, by_name.get(row.against or "", first))}.values():
                one, two = other.on(test_set)[0], row.on(test_set)[0]
                defining = (*_defining_options(other, row), *row.may_differ)
                if "choices.recipe" in defining:
                    defining += OF_RECIPE
                if "prompt" in defining:  # the feature store has fewer poolings of prompts without a photo
                    defining += (FEATURES,)
                if found := _differences(one, two, (*_may_differ(other), *_may_differ(row), *defining)):
                    raise _incomparable(table, (other, row), test_set, found, (one, two))


def _incomparable(
    table: str, rows: tuple[Row, Row], test_set: TestSet, found: Iterable[str], runs: tuple[Run, Run]
) -> UserError:
    return UserError(
        f"{table}: the rows {rows[0].name} and {rows[1].name} cannot be compared on {test_set}: they differ in "
        f"{', '.join(found)} ({runs[0].folder}, {runs[1].folder})."
    )


def _other_questions(one: Queries, other: Queries) -> list[str]:
    if one.questions != other.questions:
        return ["test queries"]
    return ["gallery"] if (one.columns["gallery"] != other.columns["gallery"]).any() else []


def _may_differ(row: Row) -> tuple[str, ...]:
    return VARIES if row.model == "trained" else VARIES + TRAINING


def _defining_options(one: Row, other: Row) -> tuple[str, ...]:
    """Return the options that define the difference of two rows, or the config groups whose choice does."""
    paths = [path for path in {**one.where, **other.where} if one.where.get(path) != other.where.get(path)]
    return tuple(path.removesuffix("._target_").removesuffix(".name") for path in paths)


def _refuse_missing(table: str, rows: Sequence[Row]) -> None:
    test_sets = sorted({test_set for row in rows for test_set in row.test_sets}, key=str)
    seeds = sorted({seed for row in rows for seed in row.seeds if seed is not None})
    missing = [
        f"{row.name}: {_unit(test_set, seed)}"
        for row in rows
        for test_set in test_sets
        for seed in (seeds if row.model == "trained" else [None])
        if (test_set, seed) not in row.runs
    ]
    if missing:
        raise UserError(
            f"{table}: not every row has every test set and seed, so they cannot be compared. Missing:\n  "
            + "\n  ".join(missing)
            + "\nRun them (repeat the sweep with its hydra.sweep.dir), or set report.leave_out=[lacking] to compare on "
            "what all rows have."
        )


def keep_common(table: str, rows: Sequence[Row]) -> list[str]:
    """Remove the test sets and seeds that some row lacks, and return a text for each removed run.

    Raises:
        UserError: Nothing is left.
    """
    sets = set.intersection(*(set(row.test_sets) for row in rows))
    trained = [row for row in rows if row.model == "trained"]
    of_each = [{seed for unit, seed in row.runs if unit == test_set} for row in trained for test_set in sets]
    seeds = set.intersection(*of_each) if of_each else set()
    if not sets or (trained and not seeds):
        raise UserError(f"{table}: there is no {'seed' if sets else 'test set'} that all rows have. Run more of them.")
    removed = []
    for row in rows:
        for test_set, seed in list(row.runs):
            if test_set not in sets or (row.model == "trained" and seed not in seeds):
                removed.append(f"{row.name}: {_unit(test_set, seed)} ({row.runs.pop((test_set, seed)).folder})")
    return removed


def _unit(test_set: TestSet, seed: int | None) -> str:
    return f"{test_set}" + ("" if seed is None else f", seed {seed}")


def _differences(one: Run, other: Run, ignored: Sequence[str]) -> list[str]:
    """Return the options in which two runs differ, and `features.key` if they have different features."""
    mine, its = one.options, other.options
    found = [path for path in {**mine, **its} if mine.get(path) != its.get(path) and not is_below(path, ignored)]
    same_features = one.provenance["features"]["key"] == other.provenance["features"]["key"]
    return found if same_features or FEATURES in ignored else [*found, FEATURES]
