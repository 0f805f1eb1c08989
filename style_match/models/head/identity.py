"""No head: the frozen backbone's features, brought to unit length (eq. 3 of the paper on h itself)."""

from torch import Tensor, nn
from torch.nn import functional


class Identity(nn.Module):
    """The frozen baseline; has no parameters.

    Args:
        in_dim: D.
    """

    def __init__(self, *, in_dim: int):
        super().__init__()
        self.in_dim = self.dim = in_dim

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, D) float32 embeddings of unit length."""
        return functional.normalize(features.float(), dim=1)
