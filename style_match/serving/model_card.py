"""The model card of a matcher folder in the format of the hub: a YAML header and Markdown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from huggingface_hub import EvalResult, ModelCardData

from style_match import __version__
from style_match.backbone.checkpoint import HUB_ID
from style_match.evaluation.tables import heading
from style_match.reporting.groups import Group, group_rows
from style_match.serving.finished_run import FinishedRun
from style_match.training.run_folder import code_hash
from style_match.utils.errors import UserError
from style_match.utils.html import fill

Figures: TypeAlias = tuple[str | None, list[Group]]  # column, its groups

TEMPLATE = Path(__file__).with_name("card.md.jinja")
ESCAPES = str.maketrans(  # for a user's text in a cell of a Markdown table
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "\\|", "\n": " ", "`": "'", "[": "\\[", "]": "\\]", "*": "\\*"}
)


def card(run: FinishedRun, about: Mapping[str, Any], options: Mapping[str, Any], figures: Figures) -> str:
    """Return README.md of a matcher folder.

    Args:
        run: The exported run.
        about: Its matcher.json.
        options: The node `card` of conf/export.yaml.
        figures: From `figures_by_group`.
    """
    column, groups = figures
    names, data = _names(run), run.provenance["data"]
    interval = next(iter(_intervals(run.metrics[run.model][names[0]])))  # "ci95"
    return fill(
        TEMPLATE,
        header=_header(run, about, options),
        about=about,
        run=run,
        counts={
            "profiles": len(run.dataset.profile_ids),
            "photos": len(run.dataset.photos),
            "items": data["items"],
            "left_out": data["left_out"],
            "what": "couples" if run.dataset.task == "couple" else "profiles",
        },
        sections=[(name, run.metrics[name]) for name in ("chance", "frozen", "trained") if name in run.metrics],
        names=names,
        heading=heading,
        percent=lambda value: f"{100 * value:.1f}",
        bounds=_bounds,
        confidence=interval.removeprefix("ci"),
        confidence_of_groups=f"{100 * options['confidence']:g}",
        column=column,
        groups=groups,
        min_group=options["min_group"],
        head=about["head"]["options"]["_target_"].rpartition(".")[2],
        plain=lambda text: text.translate(ESCAPES),
        is_hub=bool(about["backbone"]["revision"]),
        same_code=run.provenance.get("code") == code_hash(),
        version=__version__,
    )


def figures_by_group(run: FinishedRun, options: Mapping[str, Any]) -> Figures:
    """Return metrics by group of the query's profile, for the column `card.by`, or gender if it is known.

    Raises:
        UserError: `card.by` is not a column of the run's profiles, or `card.bands` do not fit it.
    """
    columns = run.dataset.columns
    known = sorted({name for cells in columns.values() for name in cells})
    column = options["by"] or ("gender" if "gender" in known else None)
    if column is None:
        return None, []
    if column not in known:
        raise UserError(f"card.by={column}: {run.dataset.profiles_file} has no such column; it has {', '.join(known)}.")
    queries = run.queries(run.model)
    names = _names(run)
    return column, group_rows(
        {profile_id: cells.get(column, "") for profile_id, cells in columns.items()},
        np.stack([queries.score(name) for name in names], axis=1)[None],
        names,
        queries.columns["query"].tolist(),
        queries.columns["cluster"],
        bands=options["bands"],
        column=f"card.by={column}",
        **{name: options[name] for name in ("min_group", "confidence", "num_resamples", "seed")},
    )


def _header(run: FinishedRun, about: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    backbone, data = about["backbone"], run.config.data
    what = "couples" if about["task"] == "couple" else "fashion styles"
    metrics = run.metrics[run.model]
    results = [
        EvalResult(
            task_type="image-feature-extraction",
            task_name=f"retrieval among {what}",
            dataset_type=data.name,
            dataset_name=data.name + (" (synthetic)" if about["synthetic"] else ""),
            dataset_split="test",
            metric_type=name,
            metric_value=round(metrics[name]["value"], 6),
            metric_args={bound: [round(end, 6) for end in ends] for bound, ends in _intervals(metrics[name]).items()},
        )
        for name in _names(run)
    ]
    tags = ["style_match", "metric-learning", "image-retrieval", about["task"]]
    data_card = ModelCardData(
        library_name="style_match",
        license=options["license"],
        pipeline_tag="image-feature-extraction",
        base_model=backbone["path"] if backbone["revision"] and HUB_ID.fullmatch(backbone["path"]) else None,
        tags=[*tags, *(["synthetic-data"] if about["synthetic"] else [])],
        model_name=about["name"],
        eval_results=results,
    )
    return data_card.to_yaml()


def _names(run: FinishedRun) -> list[str]:
    """The metrics that are means over queries, in the order of metrics.json."""
    means = ("recall", "precision", "map", "mrr")
    return [name for name in run.metrics[run.model] if name.partition("@")[0] in means]


def _intervals(cell: Mapping[str, Any]) -> dict[str, list[float]]:
    return {name: list(ends) for name, ends in cell.items() if name.startswith("ci")}


def _bounds(cell: Mapping[str, Any]) -> str:
    """The interval of a cell of metrics.json in percent; empty if it is exact."""
    ends = next(iter(_intervals(cell).values()), None)
    return "" if ends is None or ends[0] == ends[1] else f" ({100 * ends[0]:.1f}-{100 * ends[1]:.1f})"
