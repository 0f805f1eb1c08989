"""Finished runs below a sweep folder, their rows in a table, and whether rows may be compared."""

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

from style_match.cli.run_config import FAILED, PACE, leaves, read_config
from style_match.cli.sweep import REPLACED
from style_match.utils.errors import UserError
from style_match.utils.text import plain

# How the report estimates, as conf/report.yaml says.


PRIMARY = "mrr"  # the metric that is tested and judged


@dataclass(frozen=True)
class Options:
    """See conf/report.yaml."""

    confidence: float
    alpha: float
    num_resamples: int
    num_flips: int
    seed: int
    min_seeds: int
    gallery: int | None
    leave_out: Sequence[str]

    @classmethod
    def from_config(cls, report: Mapping[str, Any]) -> Options:
        """From the node `report` of the step's config."""
        return cls(**{field.name: report[field.name] for field in fields(cls)})


# The runs below a sweep folder: the finished ones, and those that are not, by name.


@dataclass(frozen=True, order=True)
class TestSet:
    """Which queries a run was asked: the dataset's fingerprint, the split drawn from it, and the fold of it."""

    data: str
    split_seed: int
    fold: int | None

    def __str__(self) -> str:
        fold = "" if self.fold is None else f", fold {self.fold}"
        return f"data {self.data[:8]}, split.seed={self.split_seed}{fold}"


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run folder."""

    folder: Path
    config: DictConfig
    provenance: Mapping[str, Any]
    metrics: Mapping[str, Any]

    @cached_property
    def options(self) -> dict[str, Any]:
        """The config's values by their dotted paths."""
        return leaves(self.config)

    @property
    def test_set(self) -> TestSet:
        return TestSet(self.provenance["data"]["fingerprint"], self.config.split.seed, self.config.split.get("fold"))

    def value(self, path: str) -> Any:
        """A value of the config by its dotted path; `choices.GROUP` is the word chosen in a group."""
        group = path.removeprefix("choices.")
        if group != path:
            return self.provenance["choices"].get(group)
        value = OmegaConf.select(self.config, path)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    def table(self, name: str) -> Any:
        """A Parquet file of the run as a pyarrow table.

        Raises:
            UserError: it is not there, or is no whole file.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_table(self.folder / name)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{self.folder / name} cannot be read ({error}): run its command again.") from error

    @cached_property
    def gallery_ids(self) -> tuple[str, ...]:
        """The test split's profiles for styles, also those that nobody asked about or answered with."""
        from safetensors import safe_open

        with safe_open(self.folder / "embeddings.safetensors", "np") as file:
            return tuple(map(plain, json.loads(file.metadata()["ids"])))

    def queries(self, model: str) -> Queries:
        """The ranks of one model (of chance: the frozen one's queries), in the order of query, direction, partner."""
        return self._queries["frozen" if model == "chance" else model]

    @cached_property
    def _queries(self) -> dict[str, Queries]:
        import pyarrow.compute as pc

        ranks = self.table("ranks.parquet")
        if "cluster" not in ranks.column_names:
            raise UserError(f"{self.folder}/ranks.parquet is of an older version: run its command again.")
        for name in ("query", "partner"):  # a run of an older version has ids as its tables wrote them
            ids = ranks[name].to_pylist()
            if not all(map(str.isascii, ids)):
                ranks = ranks.set_column(ranks.column_names.index(name), name, [list(map(plain, ids))])
        rows = ranks.sort_by([(name, "ascending") for name in ("query", "direction", "partner")])
        return {
            model: Queries(rows.filter(pc.equal(rows["model"], model)))
            for model in pc.unique(rows["model"]).to_pylist()
        }


class Queries:
    """Rows of ranks.parquet for one model of one run; `asked` (Q,) are the questions, `columns` (Q,) by their names."""

    def __init__(self, rows: Any):
        self.columns: dict[str, NDArray] = {name: rows[name].to_numpy() for name in rows.column_names}
        self.asked = list(zip(self.columns["query"], self.columns["direction"], strict=True))
        # for styles the partner is an answer, not part of the question
        if "among_profiles" not in self.columns["direction"]:
            self.asked = list(zip(self.asked, self.columns["partner"], strict=True))

    def score(self, metric: str) -> NDArray:
        """(Q,) float64 in [0, 1] of a metric that is a mean over queries."""
        name, _, k = metric.partition("@")
        if name == "recall":
            return (self.columns["rank"] <= int(k)).astype(float)
        return 1 / self.columns["rank"] if metric == "mrr" else self.columns[metric].astype(float)


@dataclass(frozen=True)
class LeftOut:
    """A run that no table can use: `kind` is unfinished, failed or foreign."""

    folder: Path
    kind: str
    why: str


def read_runs(sweep: Path) -> tuple[list[Run], list[LeftOut]]:
    """All runs at or below `sweep`, none inside of another; what a newer run replaced is passed over.

    Raises:
        UserError: no such folder, or nothing in it was ever begun.
    """
    if not sweep.is_dir():
        raise UserError(f"sweep={sweep}: there is no such folder. Sweeps are listed under runs/train/.")
    runs: list[Run] = []
    left_out: list[LeftOut] = []
    for folder in sorted(_folders(sweep)):
        if (folder / "metrics.json").is_file():
            found = _read(folder)
            if isinstance(found, Run):
                runs.append(found)
            else:
                left_out.append(found)
        elif (folder / FAILED).is_file():
            error = json.loads((folder / FAILED).read_text(encoding="utf-8"))["error"]
            left_out.append(LeftOut(folder, "failed", error.partition("\n")[0]))
        else:
            left_out.append(LeftOut(folder, "unfinished", "it has no metrics.json"))
    if not runs and not left_out:
        raise UserError(f"sweep={sweep} holds no run: give the folder of a sweep, or of one run.")
    return runs, left_out


def refuse_left_out(left_out: Sequence[LeftOut], on_request: Sequence[str]) -> None:
    """Refuse runs that no table can use, but for the kinds that the user leaves out.

    Raises:
        UserError: they are counted and named.
    """
    refused = [one for one in left_out if one.kind not in on_request]
    if refused:
        kinds = sorted({one.kind for one in refused})
        counts = " and ".join(f"{sum(one.kind == kind for one in refused)} {kind}" for kind in kinds)
        lines = [f"  {one.kind}: {one.folder}: {one.why}" for one in refused]
        raise UserError(
            "\n".join([f"The folder holds {counts} {'run' if len(refused) == 1 else 'runs'}:", *lines])
            + f"\nFinish or move them, or leave them out: report.leave_out=[{','.join([*on_request, *kinds])}]"
        )


def _folders(sweep: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(sweep):
        if {"config.yaml", FAILED} & set(files):
            yield Path(place)
            folders.clear()  # what a run holds is its own: W&B keeps a config.yaml there, too
        elif REPLACED in folders:
            folders.remove(REPLACED)


def _read(folder: Path) -> Run | LeftOut:
    try:
        provenance, metrics = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in ("provenance.json", "metrics.json")
        )
    except (OSError, ValueError) as error:
        return LeftOut(folder, "foreign", f"it cannot be read: {error}")
    lacking = [name for name in ("synthetic", "choices", "data", "features") if name not in provenance]
    if lacking:
        return LeftOut(folder, "foreign", f"it is of an older version: its provenance.json has no {lacking[0]}")
    return Run(folder, read_config(folder), provenance, metrics)


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
    "callbacks.best.dirpath",
    "callbacks.last.dirpath",
    *PACE,
)
TRAINING: tuple[str, ...] = (
    *("head", "loss", "sampler", "balance", "optimizer", "scheduler", "trainer", "callbacks", "encode"),
)
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
