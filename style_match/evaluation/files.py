"""The sections of metrics.json, and ranks.parquet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from style_match.evaluation.evaluator import Result
from style_match.evaluation.ranks import DIRECTIONS
from style_match.files import write_whole


def metrics_sections(*, frozen: Result, trained: Result | None = None, val: Result | None = None) -> dict[str, Any]:
    """metrics.json: sections "chance" and "frozen", then "trained" and "val" where there are such results.

    `chance`, `frozen` and `trained` are the test split's; `val` is the validation split's under the model reported.
    """
    sections = {"chance": frozen.chance, "frozen": frozen.metrics}
    if trained is not None:
        sections["trained"] = trained.metrics
    if val is not None:
        sections["val"] = val.metrics
    return sections


def ranks_table(results: Mapping[str, Result]) -> Any:
    """pyarrow table of the queries of each model ("frozen", "trained"), in the order given.

    Columns: model, query, partner, direction, rank (1 is best), gallery (after masking), similarity. For styles the
    partner is the best ranked profile of the query's class and direction is "among_profiles".
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
            }
        )
        for model, result in results.items()
    ]
    return pa.concat_tables(tables)


def write_ranks(path: Path, results: Mapping[str, Result]) -> None:
    """Writes ranks.parquet at once, never half. Raises UserError when it cannot be written."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.BufferOutputStream()
    pq.write_table(ranks_table(results), content)
    write_whole(path, content.getvalue().to_pybytes())
