"""The pictures of the report, as plotly figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from style_match.comparison.match import Row
from style_match.comparison.table import ResultTable
from style_match.evaluation.table import heading
from style_match.logged import logged_rows

# Okabe and Ito's colours, told apart also by the colour-blind
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A949E", "#000000")
CHANCE = "#8A949E"


def bars(table: ResultTable) -> go.Figure:
    """Each row's metrics in percent, with intervals."""
    figure = go.Figure()
    for number, row in enumerate(table.rows):
        cells = [row.metrics[metric] for metric in table.metrics]
        value = np.array([100 * cell.value for cell in cells])
        figure.add_bar(
            name=escape(row.row.label),
            x=[heading(metric) for metric in table.metrics],
            y=value,
            marker_color=CHANCE if row.row.model == "chance" else COLOURS[number % len(COLOURS)],
            error_y={
                "type": "data",
                "array": [100 * cell.high for cell in cells] - value,
                "arrayminus": value - [100 * cell.low for cell in cells],
                "thickness": 1.2,
            },
        )
    return _tidy(figure, y="percent", barmode="group")


def recall_curves(table: ResultTable) -> go.Figure:
    """The hit rate within the first k for every k of the gallery, over all runs of a row; chance as a dashed line."""
    figure = go.Figure()
    rows = [result.row for result in table.rows]
    first = [run.queries("frozen").columns["gallery"] for run in rows[0].runs.values()]
    k = np.arange(1, max(gallery.max() for gallery in first) + 1)
    for number, row in enumerate(rows):
        if row.model != "chance":
            rank = np.concatenate([run.queries(row.model).columns["rank"] for run in row.runs.values()])
            y = 100 * np.searchsorted(np.sort(rank), k, side="right") / len(rank)
            figure.add_scatter(
                x=k, y=y, name=escape(row.label), mode="lines", line_color=COLOURS[number % len(COLOURS)]
            )
    one = next(iter(rows[0].runs.values()))
    if one.config.data.task == "couple":  # of classes several answers are right, and chance is no straight line
        sizes, counts = np.unique(np.concatenate(first), return_counts=True)
        chance = 100 * np.average(np.minimum(k / sizes[:, None], 1), axis=0, weights=counts)
        figure.add_scatter(x=k, y=chance, name="chance", mode="lines", line={"dash": "dash", "color": CHANCE})
    return _tidy(figure, x="k", y="R@k in percent")


def training_curves(rows: Sequence[Row]) -> go.Figure | None:
    """val/mrr and train/loss by epoch, one line a run, one colour a row; None where nothing was trained."""
    figure = make_subplots(rows=1, cols=2, subplot_titles=("val/mrr", "train/loss"))
    for number, row in enumerate(row for row in rows if row.model == "trained"):
        for place, run in enumerate(row.runs.values()):
            logged = list(logged_rows(run.folder))
            for column, name in enumerate(("val/mrr", "train/loss"), start=1):
                points = [(int(line["epoch"]), float(line[name])) for line in logged if line.get(name)]
                if points:
                    x, y = zip(*points, strict=True)
                    figure.add_scatter(
                        x=x,
                        y=y,
                        mode="lines",
                        name=escape(row.label),
                        legendgroup=row.name,
                        showlegend=place == 0 and column == 1,
                        line={"color": COLOURS[number % len(COLOURS)], "width": 1.2},
                        text=[escape(run.folder.name)] * len(x),
                        hovertemplate="%{text}<br>epoch %{x}: %{y:.4f}<extra></extra>",
                        row=1,
                        col=column,
                    )
    return _tidy(figure, x="epoch") if figure.data else None


def tsne(points: Sequence[Mapping[str, Any]]) -> go.Figure:
    """The rows of tsne.parquet: frozen features beside trained embeddings; hover shows id and group."""
    models = list(dict.fromkeys(point["model"] for point in points))
    groups = sorted({point["group"] for point in points})
    figure = make_subplots(rows=1, cols=len(models), subplot_titles=models)
    for column, model in enumerate(models, start=1):
        for number, group in enumerate(groups):
            mine = [point for point in points if (point["model"], point["group"]) == (model, group)]
            figure.add_scatter(
                x=[point["x"] for point in mine],
                y=[point["y"] for point in mine],
                mode="markers",
                name=escape(group),
                legendgroup=group,
                showlegend=column == 1,
                customdata=[point["profile_id"] for point in mine],
                marker={"color": COLOURS[number % len(COLOURS)], "size": 7, "symbol": number % 20},
                # plotly reads tags and links in what it shows
                text=[f"{escape(point['profile_id'])}<br>{escape(group)}" for point in mine],
                hovertemplate="%{text}<extra></extra>",
                row=1,
                col=column,
            )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return _tidy(figure, height=460)


def html(figure: go.Figure, name: str) -> str:
    """The figure as a div; the page brings plotly's script once."""
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
