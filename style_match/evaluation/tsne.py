"""t-SNE of the test split's embeddings: styles by class, couples as two sides joined by lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from style_match.utils.plots import COLOURS, INK, MARKERS, MODEL_COLOURS, figure, save

LEAST = 5  # points of a t-SNE
NUM_LINES = 10  # nearest and farthest couples that are joined by a line


def draw_tsne(
    path: Path,
    panels: Mapping[str, Tensor],
    *,
    labels: Sequence[str] | None = None,
    couples: Sequence[tuple[int, int]] | None = None,
    sides: tuple[str, str] = ("left", "right"),
    synthetic: bool = False,
    perplexity: float,
    max_points: int,
    seed: int,
    dpi: int,
) -> tuple[NDArray, dict[str, NDArray]]:
    """Draw the panels side by side into a PNG; the same input gives the same picture.

    A subtitle measures the separation in the embedding space itself: the mean silhouette of the true classes by cosine
    distance (Rousseeuw 1987, -1 to 1), or for couples the mean cosine of partners and of all other pairs. Lines join
    the partners with the highest and those with the lowest cosine.

    Args:
        path: The file.
        panels: Title ("frozen backbone", "trained head") to unit rows (N, E) of the same N profiles.
        labels: (N,) classes, for styles.
        couples: Pairs of rows (left, right), for couples.
        sides: Names of the two sides.
        synthetic: Whether the people are drawn.
        perplexity: Of t-SNE; lowered for few points.
        max_points: If there are more, so many are drawn at random.
        seed: Of this choice.
        dpi: Resolution.

    Returns:
        The rows (n,) that were drawn, and for each panel their points (n, 2).

    Raises:
        ValueError: Not exactly one of labels and couples is given.
    """
    if (labels is None) == (couples is None):
        raise ValueError("give either labels or couples")
    rows = {name: embedding.detach().cpu().double().numpy() for name, embedding in panels.items()}
    count = len(next(iter(rows.values())))
    note = "synthetic data" if synthetic else ""
    if labels is not None:
        chosen = sample(np.arange(count)[:, None], max_points, seed).ravel()
        legend = sorted(set(labels))
        shape = np.array([legend.index(label) for label in labels])[chosen]
        lines = np.empty((0, 2), dtype=int)
    else:
        pairs = sample(np.asarray(couples, dtype=int).reshape(-1, 2), max_points // 2, seed)
        chosen = np.unique(pairs)
        legend = list(sides)
        shape = np.isin(chosen, pairs[:, 1]).astype(int)
        lines = np.searchsorted(chosen, pairs)
    if len(chosen) < count:
        note = ", ".join(part for part in (note, f"{len(chosen):,} of {count:,} profiles") if part)
    drawing = figure(width=5.2 * len(rows) + 1.9, height=5.4)
    axes = drawing.subplots(1, len(rows), squeeze=False)[0]
    places: dict[str, NDArray] = {}
    for axis, (name, embedding) in zip(axes, rows.items(), strict=True):
        embedding = embedding[chosen]
        subtitle = _silhouette(embedding, shape) if labels is not None else _cosines(embedding, shape, lines)
        places[name] = project(embedding, perplexity)
        _scatter(axis, places[name], shape, legend, differ_in_form=couples is not None)
        _join(axis, places[name], embedding, lines)
        colour = MODEL_COLOURS.get(name.split()[0], INK)
        axis.set_title(f"{name}\n", fontsize=13, fontweight="bold", color=colour)
        axis.text(0.5, 1.02, subtitle, transform=axis.transAxes, ha="center", fontsize=10, color=INK)
    handles, names = axes[-1].get_legend_handles_labels()
    drawing.legend(handles, names, loc="outside right center", frameon=False, fontsize=10, title=note or None)
    method = f"t-SNE, perplexity {min(perplexity, (len(chosen) - 1) / 3):g}, started from the principal components"
    drawing.supxlabel(method if len(chosen) >= LEAST else "first two dimensions", fontsize=9, color=INK)
    save(drawing, path, dpi=dpi)
    return chosen, places


def sample(groups: NDArray, most: int, seed: int) -> NDArray:
    """Return at most `most` of the rows, in their order."""
    if len(groups) <= most:
        return groups
    return groups[np.sort(np.random.default_rng(seed).choice(len(groups), most, replace=False))]


def project(embedding: NDArray, perplexity: float) -> NDArray:
    """Return points (n, 2); t-SNE starts from the principal components and uses one thread, so it is repeatable."""
    if len(embedding) < LEAST or np.allclose(embedding, embedding[0]):
        return np.pad(embedding, ((0, 0), (0, 2)))[:, :2]  # too few, or all in one place
    return _tsne(embedding.tobytes(), embedding.shape, min(perplexity, (len(embedding) - 1) / 3)).copy()


@lru_cache(maxsize=2)  # the jobs of a sweep share the frozen backbone's panel
def _tsne(embedding: bytes, shape: tuple[int, ...], perplexity: float) -> NDArray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    init = "pca" if min(shape) > 1 else "random"
    rows = np.frombuffer(embedding).reshape(shape)
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init=init, random_state=0, learning_rate="auto").fit_transform(rows)


def _silhouette(embedding: NDArray, classes: NDArray) -> str:
    from sklearn.metrics import silhouette_score

    if not 1 < len(np.unique(classes)) < len(classes):
        return "silhouette of the classes: none"
    return f"silhouette of the classes {silhouette_score(embedding, classes, metric='cosine'):.2f}"


def _cosines(embedding: NDArray, side: NDArray, lines: NDArray) -> str:
    """Return the mean cosine of partners and of all other left-right pairs, from sums instead of a matrix of pairs."""
    left, right = embedding[side == 0], embedding[side == 1]
    partners = (embedding[lines[:, 0]] * embedding[lines[:, 1]]).sum()
    others = len(left) * len(right) - len(lines)
    text = f"mean cosine: partners {partners / len(lines):.2f}"
    return text + (f", others {(left.sum(0) @ right.sum(0) - partners) / others:.2f}" if others else "")


def _join(axis: Any, places: NDArray, embedding: NDArray, lines: NDArray) -> None:
    """Join the partners that are nearest, and those that are farthest, by cosine; none twice."""
    from matplotlib.collections import LineCollection

    order = np.argsort(-(embedding[lines[:, 0]] * embedding[lines[:, 1]]).sum(1), kind="stable")
    near, far = order[:NUM_LINES], order[NUM_LINES:][-NUM_LINES:]
    for chosen, word, style in ((near, "nearest", "solid"), (far, "farthest", "dotted")):
        if len(chosen):
            label = f"{len(chosen)} {word} couples (cosine)"
            segments = LineCollection(places[lines[chosen]], colors=INK, linewidths=1.1, linestyles=style, label=label)
            axis.add_collection(segments)


def _scatter(axis: Any, places: NDArray, shape: NDArray, legend: Sequence[str], *, differ_in_form: bool) -> None:
    size = float(np.clip(9000 / len(places), 8, 46))
    for i, name in enumerate(legend):
        at = places[shape == i]
        marker, colour = MARKERS[i // len(COLOURS) % len(MARKERS)], COLOURS[i % len(COLOURS)]
        if differ_in_form:
            marker = MARKERS[i]
        axis.scatter(*at.T, s=size, c=colour, marker=marker, label=name, edgecolors="white", linewidths=0.5, zorder=2)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.margins(0.05)
    for spine in axis.spines.values():
        spine.set_color("#cccccc")
