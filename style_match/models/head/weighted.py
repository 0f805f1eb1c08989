"""Features of two kinds side by side, such as of an image and of its text, each with a head of its own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from style_match.utils.errors import UserError


class Weighted(nn.Module):
    """The similarity of two embeddings: that of the first kind times `weight`, plus that of the second times the rest.

    Args:
        in_dim: D of both kinds together; each has half of it (a pooling with two parts).
        weight: Of the first kind, from 0 to 1.
        each: Makes the head of one kind.
    """

    def __init__(self, *, in_dim: int, weight: float, each: Callable[..., nn.Module]):
        super().__init__()
        if not 0 <= weight <= 1:
            raise UserError(f"head.weight={weight} must be from 0 to 1.")
        if in_dim % 2:
            raise UserError(
                f"The features are {in_dim} wide, so they have no halves. Use pooling=hybrid or pooling=both."
            )
        self.weight = weight
        self.kinds = nn.ModuleList(each(in_dim=in_dim // 2) for _ in range(2))
        self.dim = sum(getattr(kind, "dim", 0) for kind in self.kinds)

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, 2 E) float32 embeddings of unit length."""
        first, second = (head(half, side) for head, half in zip(self.kinds, features.chunk(2, dim=1), strict=True))
        return torch.cat([self.weight**0.5 * first, (1 - self.weight) ** 0.5 * second], dim=1)
