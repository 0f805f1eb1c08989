"""report.html: everything about a run on one page that loads nothing from the network."""

from __future__ import annotations

import base64
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from style_match.evaluation.evaluator import Result
from style_match.evaluation.ranks import DIRECTIONS
from style_match.evaluation.tables import ROWS, gain_text, heading, interval_of, one_training, title
from style_match.utils.files import write_whole
from style_match.utils.html import fill
from style_match.utils.plots import COLOURS, INK, figure, png

TEMPLATE = Path(__file__).with_name("report.html.jinja")
NUM_ANSWERS = 5  # first answers of each query that are shown
_MODELS = {**ROWS, "val": "validation"}
# Title of a panel of the training curves -> how the names of its values end.
_PANELS = {
    "loss": ("/loss",),
    "validation MRR": ("val/mrr",),
    "cosine of positives and negatives": ("pos_similarity", "neg_similarity"),
    "effective rank of the embedding": ("effective_rank",),
    "share of active triplets": ("active_fraction",),
}


def draw_curves(rows: Iterable[Mapping[str, Any]], *, dpi: int) -> bytes | None:
    """Return a PNG of the values that training and validation logged over the epochs; None if there are none.

    Args:
        rows: Of metrics.csv: "epoch" and values by name ("train/loss", "val/mrr", ...), as numbers or texts, which may
            be empty or missing. Several values of an epoch are averaged.
        dpi: Resolution.
    """
    curves = {name: curve for name, curve in _curves(rows).items() if name.startswith(("train/", "val/"))}
    panels = {
        panel: names
        for panel, ends in _PANELS.items()
        if (names := [name for name in curves if name.removesuffix("_epoch").endswith(ends)])
    }
    if not panels:
        return None
    across = min(2, len(panels))
    down = math.ceil(len(panels) / across)
    drawing = figure(width=4.6 * across, height=2.9 * down)
    axes = drawing.subplots(down, across, squeeze=False).ravel()
    for axis, (panel, names) in zip(axes, panels.items(), strict=False):
        for colour, name in zip(COLOURS, sorted(names), strict=False):
            epochs, values = zip(*sorted(curves[name].items()), strict=True)
            axis.plot(epochs, values, color=colour, label=name, linewidth=1.6, marker="o", markersize=2.5)
            if name == "val/mrr":
                best = max(range(len(values)), key=values.__getitem__)
                axis.plot(epochs[best], values[best], "o", color=COLOURS[5], label=f"best, epoch {epochs[best]}")
        axis.set_title(panel, fontsize=10, color=INK)
        axis.set_xlabel("epoch", fontsize=9)
        axis.tick_params(labelsize=8)
        axis.grid(alpha=0.25)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.legend(fontsize=8, frameon=False)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    return png(drawing, dpi=dpi)


def _curves(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """Return name -> epoch, counted from 1 as in train.log -> mean of the finite values."""
    values: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row.get("epoch") in (None, ""):
            continue
        epoch = int(float(row["epoch"])) + 1
        for name, value in row.items():
            number = _number(value)
            if name not in ("epoch", "step") and number is not None:
                values[name][epoch].append(number)
    return {name: {epoch: fmean(v) for epoch, v in epochs.items()} for name, epochs in values.items()}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def write_report(
    path: Path,
    *,
    name: str,
    sections: Mapping[str, Any],
    results: Mapping[str, Result],
    gain: Mapping[str, Any] | None,
    tsne: Path | None,
    logged: Iterable[Mapping[str, Any]],
    provenance: Mapping[str, Any],
    config: str,
    synthetic: bool,
    num_queries: int,
    dpi: int,
    thumbnails: bool | None = None,
    photo: Callable[[str], str] | None = None,
    labels: Mapping[str, str] | None = None,
    seed: int | None = None,
) -> None:
    """Write the page atomically; pictures are inside, and everything that comes from data is escaped.

    Args:
        path: The file.
        name: Name of the run.
        sections: Content of metrics.json.
        results: Results of the test split by model ("frozen", "trained"); queries of the last one are listed.
        gain: `Evaluator.difference(trained, frozen)`; None without a trained head.
        tsne: File of the t-SNE picture.
        logged: Rows of metrics.csv.
        provenance: Content of provenance.json.
        config: The config in YAML.
        synthetic: Whether the people are drawn.
        num_queries: Number of best and of worst queries that are listed.
        dpi: Resolution of the training curves.
        thumbnails: Whether photos of these queries are shown; None for those of drawn people only.
        photo: Returns a small photo of a profile as a data URI; None if the run reads no photos.
        labels: Profile id to class, for styles.
        seed: Of the training.

    Raises:
        UserError: The file cannot be written.
    """
    models = [model for model in _MODELS if model in sections]
    queries = _queries(results, num_queries, labels)
    shown = {profile for rows in queries.values() for row in rows for profile in _profiles(row)}
    with_photos = photo is not None and (synthetic if thumbnails is None else thumbnails)
    page = fill(
        TEMPLATE,
        name=name,
        heading=_heading(provenance.get("choices", {})) or name,
        date=time.strftime("%Y-%m-%d"),
        synthetic=synthetic,
        photos={profile: photo(profile) for profile in sorted(shown)} if photo and with_photos else {},
        confusion=None if labels is None else _confusion(list(results.values())[-1], labels),
        subtitle=title(sections["frozen"], synthetic=synthetic),
        models=[(model, _MODELS[model]) for model in models],
        metrics=list(_metric_rows(sections, models, gain)),
        gained=one_training(seed) if gain is not None else "",
        counts=list(_count_rows(sections, models)),
        tsne=_data_uri(tsne.read_bytes()) if tsne else None,
        curves=_data_uri(picture) if (picture := draw_curves(logged, dpi=dpi)) else None,
        queries=list(queries.items()),
        model=_MODELS[list(results)[-1]],
        paired=len(results) > 1,
        provenance=list(_flat(provenance)),
        config=config,
    )
    write_whole(path, page)


def _metric_rows(
    sections: Mapping[str, Any], models: Iterable[str], gain: Mapping[str, Any] | None
) -> Iterator[dict[str, Any]]:
    for metric, cell in sections["frozen"].items():
        if not isinstance(cell, Mapping):
            continue
        scale, digits = (1, 0) if metric == "median_rank" else (100, 1)
        cells: list[tuple[str, str] | None] = []
        bars = []
        for model in models:
            cell = sections[model].get(metric)
            if cell is None:  # the smaller validation gallery has fewer k
                cells.append(None)
                continue
            low, high = (scale * bound for bound in interval_of(cell))
            value = scale * cell["value"]
            exact = model == "chance"
            cells.append((f"{value:.{digits}f}", "" if exact else f"{low:.{digits}f} to {high:.{digits}f}"))
            if scale == 100 and model in ROWS:
                bars.append((model, value, low, high))
        yield {
            "name": "median rank" if metric == "median_rank" else heading(metric),
            "cells": cells,
            "bars": bars,
            "gain": gain_text(gain[metric]) if gain and metric in gain else "",
        }


def _count_rows(sections: Mapping[str, Any], models: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    labels = {
        "queries": "queries",
        "gallery": "gallery",
        "skipped": "the only one of their class",
        "dropped_ks": "k left out",
    }
    for count, label in labels.items():
        values = [sections[model].get(count) for model in models]
        if any(values):
            yield label, [", ".join(map(str, v)) if isinstance(v, list) else f"{v or 0:,}" for v in values]


def _heading(choices: Mapping[str, Any]) -> str:
    """Return data, loss, head and pooling of a run, by the names of their configs; empty if they are not known."""
    parts = [(choices.get(group), kind) for group, kind in (("loss", ""), ("head", " head"), ("pooling", " pooling"))]
    what = ", ".join(f"{name}{kind}" for name, kind in parts if name)
    return f"{choices['data']}: {what}" if choices.get("data") and what else ""


def _queries(
    results: Mapping[str, Result], count: int, labels: Mapping[str, str] | None
) -> dict[str, list[dict[str, Any]]]:
    """Return the best and the worst queries of the last model, with their first answers and ranks by the first model.

    No query is listed twice.
    """
    models = list(results.values())
    before, after = models[0], models[-1]
    rank, earlier = after.ranks.rank.tolist(), before.ranks.rank.tolist()
    order = sorted(range(len(rank)), key=lambda i: (rank[i], -earlier[i]))

    def row(i: int) -> dict[str, Any]:
        query, partner = after.query_ids[i], after.partner_ids[i]
        answers = after.answer_ids[i][:NUM_ANSWERS]
        return {
            "answers": [
                (answer, answer == partner if labels is None else labels[answer] == labels[query]) for answer in answers
            ],
            "query": query,
            "partner": partner,
            "direction": DIRECTIONS[int(after.ranks.direction[i])].replace("_", " "),
            "rank": rank[i],
            "earlier": earlier[i],
            "gallery": int(after.ranks.gallery[i]),
            "similarity": f"{float(after.ranks.similarity[i]):.3f}",
        }

    worst = order[count:][-count:] if count else []
    return {
        "Best queries": [row(i) for i in order[:count]],
        "Worst queries": [row(i) for i in reversed(worst)],
    }


def _profiles(row: Mapping[str, Any]) -> list[str]:
    return [row["query"], row["partner"], *(answer for answer, _ in row["answers"])]


def _confusion(result: Result, labels: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the classes, and of each the shares in percent of the classes of its queries' first answers."""
    pairs = Counter(
        (labels[query], labels[answers[0]])
        for query, answers in zip(result.query_ids, result.answer_ids, strict=True)
        if answers
    )
    classes = sorted({name for pair in pairs for name in pair})
    rows = []
    for name in classes:
        counts = [pairs[name, other] for other in classes]
        if total := sum(counts):
            rows.append((name, [100 * count / total for count in counts], total))
    return {"classes": classes, "rows": rows}


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the rows of the table of provenance, without empty values and choices of Hydra's own groups."""
    for key, value in content.items():
        if f"{prefix}{key}" == "selected.epoch" and value is not None:
            value += 1  # counted from 1 as in train.log
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in (None, "", [], {}) and not key.startswith("hydra/"):
            yield f"{prefix}{key}", str(value)


def _data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
