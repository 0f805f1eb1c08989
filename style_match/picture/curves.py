"""The training curves, from the rows of a CSV logger."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from style_match.picture.canvas import COLOURS, INK, figure, png

# title of a panel: the ends of the logged names that belong in it
_PANELS = {
    "loss": ("/loss",),
    "validation MRR": ("val/mrr",),
    "cosine of positives and negatives": ("pos_similarity", "neg_similarity"),
    "effective rank of the embedding": ("effective_rank",),
    "share of active triplets": ("active_fraction",),
}


def draw_curves(rows: Iterable[Mapping[str, Any]], *, dpi: int) -> bytes | None:
    """PNG of what was logged over the epochs; None when nothing was.

    `rows` are those of metrics.csv: "epoch", and values by name ("train/loss", "val/mrr", ...) where the row has them,
    as numbers or text, empty or absent where not. Several values of an epoch are averaged.
    """
    curves = _by_name(rows)
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


def _by_name(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[int, float]]:
    """name -> epoch -> mean of the finite values."""
    seen: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if row.get("epoch") in (None, ""):
            continue
        epoch = int(float(row["epoch"]))
        for name, value in row.items():
            number = _number(value)
            if name not in ("epoch", "step") and number is not None:
                seen.setdefault(name, {}).setdefault(epoch, []).append(number)
    return {name: {epoch: sum(v) / len(v) for epoch, v in epochs.items()} for name, epochs in seen.items()}


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
