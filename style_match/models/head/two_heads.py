"""One head for each side of a couple."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from style_match.models.head.closed_form import required


class TwoHeads(nn.Module):
    """Left and right profiles go through separate heads, which meet only in the loss.

    Args:
        in_dim: D.
        each: Makes one of them.
    """

    def __init__(self, *, in_dim: int, each: Callable[..., nn.Module]):
        super().__init__()
        self.sides = nn.ModuleList(each(in_dim=in_dim) for _ in range(2))
        self.dim = getattr(self.sides[0], "dim", 0)

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, E) float32 embeddings of unit length; `side` (B,) is 0 for left, 1 for right."""
        side = required(side)
        order = side.argsort(stable=True)
        num_left = int((side == 0).sum())
        chosen = order[:num_left], order[num_left:]
        rows = [head(features[some]) for head, some in zip(self.sides, chosen, strict=True) if len(some)]
        return torch.cat(rows)[order.argsort()]
