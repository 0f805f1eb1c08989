"""A closed form, and on it a small network that starts at zero and learns what the closed form misses."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from style_match.models.head.closed_form import ClosedForm
from style_match.models.head.mlp import MLP


class Residual(nn.Module):
    """e = b + W2 ReLU(BN(W1 b)), b the embedding of the closed form, brought to unit length; W2 starts at zero.

    Args:
        in_dim: D.
        hidden_dim: Width between W1 and W2.
        base: Makes the closed form.
    """

    def __init__(self, *, in_dim: int, hidden_dim: int, base: Callable[..., ClosedForm]):
        super().__init__()
        self.base = base(in_dim=in_dim)
        self.dim = self.base.dim
        self.mlp = MLP(in_dim=self.dim, hidden_dim=hidden_dim, dim=self.dim, bias=False, standardize=False)
        nn.init.zeros_(self.mlp.linear2.weight)

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, E) float32 embeddings of unit length; `side` (B,) as the closed form needs it."""
        b_BE = self.base(features, side)
        return functional.normalize((b_BE + self.mlp.project(b_BE)).float(), dim=1)
