"""Retrieval metrics as a torchmetrics Metric, right when the gallery is spread over processes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from style_match.evaluation.metrics import choose_ks, means
from style_match.evaluation.ranks import couple_ranks, style_ranks


class RetrievalMetrics(Metric):
    """Means of all retrieval metrics over everything that any process has seen.

    Rows are kept with their profile number, so a row that a distributed sampler repeats to make the processes' shares
    equal counts once. For couples a profile in several couples comes once a couple and is once in the gallery.
    `ks` above the gallery are left out. Keep it on the device of the embeddings; the ranks are as in `ranks`.
    """

    full_state_update = False
    embedding: list[Tensor]
    row: list[Tensor]

    def __init__(self, *, ks: Sequence[int], block: int) -> None:
        super().__init__()
        self.ks, self.block = tuple(ks), block
        self.add_state("embedding", default=[], dist_reduce_fx="cat")
        self.add_state("row", default=[], dist_reduce_fx="cat")

    def update(self, embeddings: Tensor, profiles: Tensor, labels: Tensor, side: Tensor | None = None) -> None:
        """`embeddings` (B, E) unit rows; `profiles` (B,) numbers of the profiles, the same in all processes.

        `labels` (B,): for couples the couple's number, the same for its two rows, and `side` (B,) 0 for left, 1 for
        right; for styles the class, without `side`.
        """
        side = torch.full_like(labels, -1) if side is None else side
        self.embedding.append(embeddings.detach())
        self.row.append(torch.stack([profiles, labels, side], dim=1).to(embeddings.device))

    def compute(self) -> dict[str, Tensor]:
        """Metric name -> scalar. Raises ValueError when a couple lacks one of its two rows."""
        embedding, row = dim_zero_cat(self.embedding), dim_zero_cat(self.row)
        row, first = _distinct(row)
        embedding = embedding[first]
        profile, label, side = row.unbind(1)
        if (side < 0).all():
            ks, _ = choose_ks(None, self.ks, len(row) - 1)
            values = means(style_ranks(embedding, label, ks=ks, block=self.block), ks)
        else:
            (left, left_row), (right, right_row) = (_gallery(embedding, profile, side == s) for s in (0, 1))
            couple_l, couple_r = (label[side == s].sort() for s in (0, 1))
            if not torch.equal(couple_l.values, couple_r.values):
                raise ValueError("every couple needs exactly one left and one right row")
            couples = torch.stack([left_row[couple_l.indices], right_row[couple_r.indices]], dim=1)
            ks, _ = choose_ks(None, self.ks, min(len(left), len(right)))
            values = means(couple_ranks(left, right, couples, block=self.block), ks)
        return {name: torch.tensor(value, device=embedding.device) for name, value in values.items()}


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Distinct rows, and where each occurs first."""
    distinct, inverse = torch.unique(rows, dim=0, return_inverse=True)
    place = torch.arange(len(rows), device=rows.device)
    first = torch.full((len(distinct),), len(rows), device=rows.device).scatter_reduce(0, inverse, place, "amin")
    return distinct, first


def _gallery(embedding: Tensor, profile: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Embeddings of the distinct profiles among the chosen rows, and the gallery row of each chosen row."""
    _, first = _distinct(profile[chosen, None])
    rows = torch.unique(profile[chosen], return_inverse=True)[1]
    return embedding[chosen][first], rows
