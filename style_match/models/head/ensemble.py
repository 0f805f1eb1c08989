"""Heads that differ only in their initial weights, trained side by side, their embeddings joined."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from style_match.utils.errors import UserError


class Ensemble(nn.Module):
    """The similarity of two joined embeddings is the mean of the members' similarities.

    Args:
        in_dim: D.
        num: N, how many members.
        each: makes one of them.
    """

    def __init__(self, *, in_dim: int, num: int, each: Callable[..., nn.Module]):
        super().__init__()
        if num < 1:
            raise UserError(f"head.num={num} must be at least 1.")
        self.heads = nn.ModuleList(each(in_dim=in_dim) for _ in range(num))
        self.dim = sum(getattr(head, "dim", 0) for head in self.heads)

    def members(self, features: Tensor, side: Tensor | None = None) -> list[Tensor]:
        """N embeddings (B, E) of unit length, each with a loss of its own in training."""
        return [head(features, side) for head in self.heads]

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, N E) float32 embeddings of unit length."""
        return torch.cat(self.members(features, side), dim=1) / len(self.heads) ** 0.5
