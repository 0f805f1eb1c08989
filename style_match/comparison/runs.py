"""The runs below a sweep folder: the finished ones, and those that are not, by name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from style_match.errors import UserError
from style_match.run_config import leaves, read_config
from style_match.spelling import plain
from style_match.sweep import FAILED, REPLACED


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
