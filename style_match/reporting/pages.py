"""report.html: tables, figures, queries, hubs and groups on one page that loads nothing from the network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from style_match.data.images import as_uri, thumbnail
from style_match.evaluation.tables import heading
from style_match.reporting.groups import Group, Hubness, group_rows, hubness
from style_match.reporting.runs import PRIMARY, LeftOut, Row, Run
from style_match.reporting.statistics import Block, blocks_of
from style_match.reporting.tables import ResultTable, difference_text, is_exact, p_text, val_text
from style_match.training.outputs import logged_rows
from style_match.utils.errors import UserError
from style_match.utils.html import fill
from style_match.utils.plots import COLOURS, MODEL_COLOURS

TEMPLATE = Path(__file__).with_name("page.html.jinja")
THUMBNAIL_PX = 96  # longest side of a picture of a profile

# ---------------------------------------------------------------- figures


def colours_of(rows: Iterable[Row]) -> dict[str, str]:
    """Return the colour of each row by its name: the first row of a model has the model's."""
    free, others = dict(MODEL_COLOURS), cycle(COLOURS)
    return {row.name: free.pop(row.model) if row.model in free else next(others) for row in rows}


def bars(table: ResultTable) -> go.Figure:
    """Return each row's metrics in percent, with intervals."""
    figure, colours = go.Figure(), colours_of(result.row for result in table.rows)
    for row in table.rows:
        cells = [row.metrics[metric] for metric in table.metrics]
        value = np.array([100 * cell.value for cell in cells])
        figure.add_bar(
            name=escape(row.row.label),
            x=[heading(metric) for metric in table.metrics],
            y=value,
            marker_color=colours[row.row.name],
            error_y={
                "type": "data",
                "array": [100 * cell.high for cell in cells] - value,
                "arrayminus": value - [100 * cell.low for cell in cells],
                "thickness": 1.2,
            },
        )
    return _tidy(figure, y="percent", barmode="group")


def recall_curves(table: ResultTable) -> go.Figure:
    """Return the hit rate within the first k for every k, over all runs of a row; chance is a dashed line."""
    rows = [result.row for result in table.rows]
    figure, colours = go.Figure(), colours_of(rows)
    first = [run.queries("frozen").columns["gallery"] for run in rows[0].runs.values()]
    k = np.arange(1, max(gallery.max() for gallery in first) + 1)
    for row in rows:
        if row.model != "chance":
            rank = np.concatenate([run.queries(row.model).columns["rank"] for run in row.runs.values()])
            y = 100 * np.searchsorted(np.sort(rank), k, side="right") / len(rank)
            figure.add_scatter(x=k, y=y, name=escape(row.label), mode="lines", line_color=colours[row.name])
    if rows[0].first_run.config.data.task == "couple":  # a class has several right answers
        sizes, counts = np.unique(np.concatenate(first), return_counts=True)
        chance = 100 * np.average(np.minimum(k / sizes[:, None], 1), axis=0, weights=counts)
        figure.add_scatter(
            x=k, y=chance, name="chance", mode="lines", line={"dash": "dash", "color": MODEL_COLOURS["chance"]}
        )
    return _tidy(figure, x="k", y="R@k in percent")


def training_curves(rows: Sequence[Row]) -> go.Figure | None:
    """Return val/mrr and train/loss by epoch from 1, a line for each run; None if nothing was trained."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=("val/mrr", "train/loss"))
    colours = colours_of(rows)
    for row in (row for row in rows if row.model == "trained"):
        for place, run in enumerate(row.runs.values()):
            logged = list(logged_rows(run.folder))
            for column, name in enumerate(("val/mrr", "train/loss"), start=1):
                points = [(int(line["epoch"]) + 1, float(line[name])) for line in logged if line.get(name)]
                if points:
                    x, y = zip(*points, strict=True)
                    figure.add_scatter(
                        x=x,
                        y=y,
                        mode="lines",
                        name=escape(row.label),
                        legendgroup=row.name,
                        showlegend=place == 0 and column == 1,
                        line={"color": colours[row.name], "width": 1.2},
                        text=[escape(run.folder.name)] * len(x),
                        hovertemplate="%{text}<br>epoch %{x}: %{y:.4f}<extra></extra>",
                        row=1,
                        col=column,
                    )
    return _tidy(figure, x="epoch") if figure.data else None


def tsne(points: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Return the points of tsne.parquet: frozen features beside trained embeddings; hover shows id and group."""
    models = list(dict.fromkeys(point["model"] for point in points))
    groups = sorted({point["group"] for point in points})
    figure = make_subplots(rows=1, cols=len(models), subplot_titles=models)
    for column, model in enumerate(models, start=1):
        for number, group in enumerate(groups):
            some = [point for point in points if (point["model"], point["group"]) == (model, group)]
            figure.add_scatter(
                x=[point["x"] for point in some],
                y=[point["y"] for point in some],
                mode="markers",
                name=escape(group),
                legendgroup=group,
                showlegend=column == 1,
                customdata=[point["profile_id"] for point in some],
                marker={"color": COLOURS[number % len(COLOURS)], "size": 7, "symbol": number % 20},
                # plotly interprets tags and links
                text=[f"{escape(point['profile_id'])}<br>{escape(group)}" for point in some],
                hovertemplate="%{text}<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return _tidy(figure, height=460)


def html(figure: go.Figure, name: str) -> str:
    """Return the figure as a div; the page contains plotly's script once."""
    config = {"displaylogo": False, "responsive": True}
    return figure.to_html(full_html=False, include_plotlyjs=False, div_id=name, config=config)


def _tidy(figure: go.Figure, *, x: str = "", y: str = "", height: int = 380, **layout: Any) -> go.Figure:
    options: Mapping[str, Any] = {
        "template": "plotly_white",
        "height": height,
        "margin": {"l": 50, "r": 15, "t": 55, "b": 45},
        "legend": {"orientation": "h", "y": -0.18},
        "font": {"size": 13},
    }
    figure.update_layout(**options, **layout)
    if x:
        figure.update_xaxes(title=x)
    if y:
        figure.update_yaxes(title=y)
    return figure


# ---------------------------------------------------------------- page


def page(tables: Sequence[ResultTable], sweep: Path, report: Mapping[str, Any], *, left_out: Sequence[LeftOut]) -> str:
    """Return the page.

    Args:
        tables: Of the report.
        sweep: Folder that is reported.
        report: Node of the step's config.
        left_out: Runs that no table uses.

    Raises:
        UserError: `report.by` is not a column of profiles.csv, or the dataset folder is missing and needed.
    """
    from plotly.offline import get_plotlyjs

    shown = [_show(table, report) for table in tables]
    return fill(
        TEMPLATE,
        sweep=str(sweep),
        synthetic=any(table.synthetic for table in tables),
        tables=shown,
        left_out=left_out,
        by=report["by"],
        min_group=report["min_group"],
        num_answers=report["num_answers"],
        plotly=get_plotlyjs(),
        heading=heading,
        percent=lambda value: f"{100 * value:.1f}",
        is_exact=is_exact,
        difference=lambda interval: difference_text(interval, "\n").partition("\n")[::2],
        p=p_text,
        val=val_text,
        primary=PRIMARY,
    )


def _show(table: ResultTable, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of one table that the template shows."""
    rows = [result.row for result in table.rows]
    last = next((row for row in reversed(rows) if row.model == "trained"), rows[-1])
    run = last.first_run
    model = "trained" if "trained" in run.metrics else "frozen"
    best, worst = queries(run, model, report["num_queries"], report["num_answers"])
    points = run.table("tsne.parquet").to_pylist()
    listed = [(row["query"], row["partner"], *row["answers"]) for row in (*best, *worst)]
    names = {point["profile_id"] for point in points}.union(*listed)
    curves = training_curves(rows)
    block = blocks_of(rows[0])[0]
    shown = [row for row in rows if row.model != "chance"]
    return {
        "table": table,
        "bars": html(bars(table), f"bars-{table.name}"),
        "recall": html(recall_curves(table), f"recall-{table.name}"),
        "curves": html(curves, f"curves-{table.name}") if curves else "",
        "tsne": html(tsne(points), f"tsne-{table.name}"),
        "run": run.folder.name,
        "model": model,
        "queries": (("Best queries", best), ("Worst queries", worst)),
        "thumbnails": thumbnails(run, names) if report["thumbnails"] else {},
        "hubs": [(row.label, hubs(row, report["hub_k"], report["num_hubs"])) for row in shown],
        "groups": [(row.label, groups(row, block, table.metrics, report)) for row in shown] if report["by"] else [],
        "grouped": ", ".join(map(str, block.test_sets)),
        "runs": [
            (row.label, test_set, seed, one.provenance, one.folder)
            for row in rows
            for (test_set, seed), one in row.runs.items()
        ],
    }


def queries(run: Run, model: str, count: int, num_answers: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the best and the worst queries of a model, with their first answers and the partner's rank."""
    answers = first_answers(run, model)
    columns = run.queries(model).columns
    names = ("query", "direction", "partner", "rank", "gallery", "similarity")
    rows = [dict(zip(names, values, strict=True)) for values in zip(*(columns[name] for name in names), strict=True)]
    for row in rows:
        row["answers"] = answers[row["direction"]].get((row["query"], row["partner"]), [])[:num_answers]
    rows.sort(key=lambda row: (row["rank"], -row["similarity"]))
    return rows[:count], rows[::-1][:count]


def first_answers(run: Run, model: str) -> dict[str, dict[tuple[str, str], list[str]]]:
    """Return direction -> (query, partner) -> first answers, best first; empty if no answers were kept."""
    answers: dict[str, dict[tuple[str, str], list[str]]] = defaultdict(dict)
    for row in run.table("answers.parquet").to_pylist():
        if row["model"] == model:
            answers[row["direction"]].setdefault((row["query"], row["partner"]), []).append(row["answer"])
    return answers


def hubs(row: Row, k: int, num_top: int) -> Hubness | None:
    """Return the hubness of a row's first run; None if no answers were kept."""
    run = row.first_run
    first = first_answers(run, row.model)
    if not first:
        return None
    columns = run.queries(row.model).columns
    galleries = {
        direction: run.gallery_ids
        if direction == "among_profiles"
        else sorted(set(columns["partner"][columns["direction"] == direction]))
        for direction in first
    }
    answers = {direction: list(of_query.values()) for direction, of_query in first.items()}
    shortest = min(len(names) for lists in answers.values() for names in lists)
    return hubness(answers, galleries, k=min(k, shortest), num_top=num_top)


def groups(row: Row, block: Block, metrics: Sequence[str], report: Mapping[str, Any]) -> list[Group]:
    """Return a row's metrics by group of the querying profile, over its seeds on the test sets of `block`."""
    return group_rows(
        column_of(row.on(block.test_sets[0])[0], report["by"]),
        block.scores(row, metrics, report["gallery"]),
        metrics,
        block.queries,
        block.clusters,
        bands=report["bands"],
        column=f"report.by={report['by']}",
        **{name: report[name] for name in ("min_group", "confidence", "num_resamples", "seed")},
    )


def column_of(run: Run, column: str) -> dict[str, str]:
    """Return a column of the run's profiles table by profile id.

    Raises:
        UserError: The dataset folder is missing, or has no such column.
    """
    folder = _dataset(run)
    known = sorted({name for columns in folder.columns.values() for name in columns})
    if column not in known:
        raise UserError(f"report.by={column}: {folder.profiles_file} has no such column; it has {', '.join(known)}.")
    return {profile: columns.get(column, "") for profile, columns in folder.columns.items()}


def thumbnails(run: Run, profile_ids: Iterable[str]) -> dict[str, str]:
    """Return small pictures of profiles as data URIs, without any metadata of the files."""
    folder, made = _dataset(run), {}
    for profile_id in sorted(profile_ids):
        if profile_id not in folder.columns:
            raise UserError(f"{folder.profiles_file} has no profile {profile_id}, which {run.folder} was tested on.")
        photo, bound = folder.photos_of(profile_id)[0].path, run.config.data.max_source_pixels
        made[profile_id] = as_uri(thumbnail(photo, THUMBNAIL_PX, max_source_pixels=bound))
    return made


def _dataset(run: Run) -> Any:
    from style_match.data.dataset import read_folder

    data, root = run.config.data, Path(run.provenance["data"]["folder"])
    if not root.is_dir():
        raise UserError(
            f"The dataset folder of {run.folder} is missing: {root}. report.by and report.thumbnails need it."
        )
    return read_folder(root, task=data.task, image_root=data.image_root, label_column=data.label_column)
