"""Heads that differ only in their initial weights, trained side by side, with joined embeddings."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from style_match.utils.errors import UserError


class Ensemble(nn.Module):
    """The similarity of two joined embeddings is the mean of the members' similarities.

    Args:
        in_dim: D.
        num: N, the number of members.
        each: Makes one of them.
    """

    def __init__(self, *, in_dim: int, num: int, each: Callable[..., nn.Module]):
        super().__init__()
        if num < 1:
            raise UserError(f"head.num={num} must be at least 1.")
        self.heads = nn.ModuleList(each(in_dim=in_dim) for _ in range(num))
        self.dim = sum(getattr(head, "dim", 0) for head in self.heads)

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, N E) float32 embeddings of unit length."""
        return joined(members(self, features, side))


def members(head: nn.Module, features: Tensor, side: Tensor | None = None) -> list[Tensor]:
    """Return the embeddings (B, E) by each member of an ensemble, or by the one head; each has a loss in training."""
    return [each(features, side) for each in (head.heads if isinstance(head, Ensemble) else [head])]


def joined(embeddings: list[Tensor]) -> Tensor:
    """Return the members' embeddings side by side (B, N E), of unit length."""
    return torch.cat(embeddings, dim=1) / len(embeddings) ** 0.5
