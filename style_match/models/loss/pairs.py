"""Which rows of a batch are compared with which.

Couples are compared across the sides only, styles all with all. Comparisons are made on the device of the labels:
while these are on the CPU, no training step waits for the GPU.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from style_match.utils.errors import UserError


@dataclass(frozen=True)
class LossOutput:
    """A scalar `loss` with gradient, and `logs`: detached scalars by name."""

    loss: Tensor
    logs: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Anchors against candidates, as rows of a batch; every anchor has a positive and a negative among the candidates.

    Shapes: anchors (A,) and candidates (C,) long; positive and negative (A, C) bool.
    """

    anchors: Tensor
    candidates: Tensor
    positive: Tensor
    negative: Tensor

    def to(self, device: Any) -> "Comparison":
        parts = (self.anchors, self.candidates, self.positive, self.negative)
        return Comparison(*(part.to(device, non_blocking=True) for part in parts))


def comparisons(labels: Tensor, side: Tensor | None, *, symmetric: bool) -> list[Comparison]:
    """Return the comparisons of one batch; anchors without a positive or without a negative are left out.

    Args:
        labels: (B,) long; rows with equal labels are positives of each other.
        side: (B,) long, 0 left and 1 right; None if there are no sides.
        symmetric: For couples, right rows are anchors too, in a second comparison.

    Raises:
        UserError: The batch has no pair of equal labels, or none of different labels.
    """
    if side is None:
        rows = torch.arange(len(labels), device=labels.device)
        return [_compare(labels, rows, rows, itself=True)]
    left, right = (side == 0).nonzero().flatten(), (side == 1).nonzero().flatten()
    directions = [(left, right), (right, left)] if symmetric else [(left, right)]
    return [_compare(labels, anchors, candidates, itself=False) for anchors, candidates in directions]


def _compare(labels: Tensor, anchors: Tensor, candidates: Tensor, *, itself: bool) -> Comparison:
    same = labels[anchors, None] == labels[None, candidates]
    positive = same & ~torch.eye(len(labels), dtype=same.dtype, device=same.device) if itself else same
    negative = ~same
    valid = positive.any(dim=1) & negative.any(dim=1)
    if not valid.any():
        lack = "negative: all rows share one label" if positive.any() else "positive: no two rows share a label"
        raise UserError(
            f"A batch of {len(labels)} rows has no {lack}. Raise sampler.batch_size (couples), sampler.num_classes or "
            "sampler.num_samples (styles), or correct the labels."
        )
    return Comparison(anchors[valid], candidates, positive[valid], negative[valid])


def pair_similarities(s_AC: Tensor, comparison: Comparison) -> dict[str, Tensor]:
    """Return the means of the similarities `s_AC` over all positive and over all negative pairs of the comparison."""
    s_AC = s_AC.detach()
    return {
        f"{name}_similarity": (s_AC * mask).sum() / mask.sum()
        for name, mask in (("pos", comparison.positive), ("neg", comparison.negative))
    }


def mean_over(outputs: list[LossOutput]) -> LossOutput:
    """Return the mean of the losses and logs of several directions."""
    return LossOutput(
        torch.stack([output.loss for output in outputs]).mean(),
        {name: torch.stack([output.logs[name] for output in outputs]).mean() for name in outputs[0].logs},
    )
