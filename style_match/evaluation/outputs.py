"""The sections of metrics.json, and ranks.parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from style_match.evaluation.evaluator import Result
from style_match.evaluation.ranks import DIRECTIONS
from style_match.utils.files import write_whole

_ANSWERS = ["model", "query", "partner", "direction", "place", "answer", "similarity"]


def metrics_sections(*, frozen: Result, trained: Result | None = None, val: Result | None = None) -> dict[str, Any]:
    """Return the content of metrics.json: sections "chance" and "frozen", and "trained" and "val" if given.

    `chance`, `frozen` and `trained` are of the test split; `val` is of the validation split and the reported model.
    With evaluation.csls_k all but `chance` are ranked by CSLS, also `val`, unlike the val/mrr that training logs.
    """
    sections = {"chance": frozen.chance, "frozen": frozen.metrics}
    if trained is not None:
        sections["trained"] = trained.metrics
    if val is not None:
        sections["val"] = val.metrics
    return sections


def ranks_table(results: Mapping[str, Result]) -> pa.Table:
    """Return ranks.parquet: the queries of each model ("frozen", "trained").

    Columns: model, query, partner, direction, rank (1 is best), gallery (after masking), similarity (the cosine; with
    evaluation.csls_k CSLS, see `evaluation.ranks`), cluster (number of the query's connected people), and the scores
    that do not follow from the rank: precision@k, map@r. For styles the partner is the best ranked profile of the
    query's class, and direction is "among_profiles".
    """
    tables = [
        pa.table(
            {
                "model": [model] * len(result.query_ids),
                "query": list(result.query_ids),
                "partner": list(result.partner_ids),
                "direction": [DIRECTIONS[i] for i in result.ranks.direction.tolist()],
                "rank": result.ranks.rank.numpy(),
                "gallery": result.ranks.gallery.numpy(),
                "similarity": result.ranks.similarity.numpy(),
                "cluster": result.clusters.numpy(),
            }
            | {name: column.numpy() for name, column in result.scores.items() if name.startswith(("precision", "map"))}
        )
        for model, result in results.items()
    ]
    return pa.concat_tables(tables)


def answers_table(results: Mapping[str, Result]) -> pa.Table:
    """Return answers.parquet: model, query, partner, direction, place, answer, similarity.

    Places count from 1. Other true partners of the query are left out, as in the ranking; similarity is that of
    `ranks_table`.
    """
    rows = []
    for model, result in results.items():
        directions, likeness = result.ranks.direction.tolist(), result.ranks.likeness.tolist()
        for i, answers in enumerate(result.answer_ids):
            asked = (model, result.query_ids[i], result.partner_ids[i], DIRECTIONS[directions[i]])
            rows += [(*asked, place, answer, likeness[i][place - 1]) for place, answer in enumerate(answers, start=1)]
    return pa.table([list(column) for column in zip(*rows, strict=True)] or [[]] * len(_ANSWERS), names=_ANSWERS)


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as a Parquet file, atomically.

    Raises:
        UserError: The file cannot be written.
    """
    content = pa.BufferOutputStream()
    pq.write_table(table, content)
    write_whole(path, content.getvalue().to_pybytes())
