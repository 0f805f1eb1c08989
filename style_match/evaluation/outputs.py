"""The sections of metrics.json, and ranks.parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from style_match.evaluation.evaluator import Result
from style_match.evaluation.ranks import DIRECTIONS
from style_match.utils.files import write_whole


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


def ranks_table(results: Mapping[str, Result]) -> Any:
    """Return ranks.parquet as a pyarrow table: the queries of each model ("frozen", "trained").

    Columns: model, query, partner, direction, rank (1 is best), gallery (after masking), similarity (the cosine; with
    evaluation.csls_k CSLS, see `evaluation.ranks`), cluster (number of the query's connected people), and the scores
    that do not follow from the rank: precision@k, map@r. For styles the partner is the best ranked profile of the
    query's class, and direction is "among_profiles".
    """
    import pyarrow as pa

    tables = [
        pa.table(
            {
                "model": pa.array([model] * len(result.query_ids), pa.string()),
                "query": pa.array(result.query_ids, pa.string()),
                "partner": pa.array(result.partner_ids, pa.string()),
                "direction": pa.array([DIRECTIONS[i] for i in result.ranks.direction.tolist()], pa.string()),
                "rank": pa.array(result.ranks.rank.numpy(), pa.int64()),
                "gallery": pa.array(result.ranks.gallery.numpy(), pa.int64()),
                "similarity": pa.array(result.ranks.similarity.numpy(), pa.float64()),
                "cluster": pa.array(result.clusters.numpy(), pa.int64()),
                **{
                    name: pa.array(column.numpy(), pa.float64())
                    for name, column in result.scores.items()
                    if name.startswith(("precision", "map"))
                },
            }
        )
        for model, result in results.items()
    ]
    return pa.concat_tables(tables)


def answers_table(results: Mapping[str, Result]) -> Any:
    """Return answers.parquet as a pyarrow table: model, query, partner, direction, place, answer, similarity.

    Places count from 1. Other true partners of the query are left out, as in the ranking; similarity is that of
    `ranks_table`.
    """
    import pyarrow as pa

    columns: dict[str, list[Any]] = {
        name: [] for name in ("model", "query", "partner", "direction", "place", "answer", "similarity")
    }
    for model, result in results.items():
        rows = zip(
            result.query_ids,
            result.partner_ids,
            result.ranks.direction.tolist(),
            result.answer_ids,
            result.ranks.likeness.tolist(),
            strict=True,
        )
        for query, partner, direction, answers, likeness in rows:
            for place, (answer, similarity) in enumerate(zip(answers, likeness, strict=False), start=1):
                row = (model, query, partner, DIRECTIONS[direction], place, answer, similarity)
                for column, value in zip(columns.values(), row, strict=True):
                    column.append(value)
    return pa.table(columns)


def write_table(path: Path, table: Any) -> None:
    """Write a pyarrow table as a Parquet file, atomically.

    Raises:
        UserError: The file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.BufferOutputStream()
    pq.write_table(table, content)
    write_whole(path, content.getvalue().to_pybytes())
