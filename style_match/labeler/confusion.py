"""The confusion matrix of an attribute as a picture."""

import numpy as np

from style_match.labeler.agreement import Agreement
from style_match.picture.canvas import INK, figure, png


def draw_confusion(found: Agreement, *, title: str, dpi: int) -> bytes:
    """PNG: counts in the cells, shaded by their share of the row; row: the human's class, column: the labeler's."""
    names = [each.name for each in found.classes]
    side = 2.2 + 0.75 * len(names)
    drawing = figure(width=side + 0.9, height=side)
    axes = drawing.subplots()
    totals = found.matrix.sum(axis=1, keepdims=True)
    shares = found.matrix / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(found.matrix):
        colour = "white" if shares[row, column] > 0.5 else INK
        axes.text(column, row, str(count), ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("labeler", fontsize=9)
    axes.set_ylabel("human", fontsize=9)
    kappa = "undefined" if np.isnan(found.kappa) else f"{found.kappa:.2f}"
    axes.set_title(f"{found.attribute}: {found.num_photos} photos, kappa {kappa}\n{title}", fontsize=9, color=INK)
    for edge in axes.spines.values():
        edge.set_visible(False)
    return png(drawing, dpi=dpi)
