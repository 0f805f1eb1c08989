"""One linear layer, trained: from random weights, or from those of a closed form."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from style_match.data.datamodule import TrainSet
from style_match.models.head.closed_form import check_width
from style_match.models.head.linear_models import PairLDA


class Linear(nn.Module):
    """z = W (h - mean) / std, e = z / |z|; mean and standard deviation are those of the training photos.

    Args:
        in_dim: D.
        dim: E.
        start: Makes the closed form whose directions are the first W; None for random weights.
    """

    mean: Tensor
    std: Tensor
    fitted: Tensor

    def __init__(self, *, in_dim: int, dim: int, start: Callable[..., PairLDA] | None):
        super().__init__()
        self.in_dim, self.dim = in_dim, dim
        self.start = (start and start(in_dim=in_dim, dim=dim),)  # in a tuple: not a part of the state
        self.linear = nn.Linear(in_dim, dim, bias=False)
        self.register_buffer("mean", torch.zeros(in_dim))
        self.register_buffer("std", torch.ones(in_dim))
        self.register_buffer("fitted", torch.tensor(False))

    def is_fitted(self) -> bool:
        return bool(self.fitted)

    @torch.no_grad()
    def fit_closed(self, train: TrainSet) -> None:
        """Take mean, standard deviation and the first weights from the training features."""
        photos = train.photos.double()
        std = photos.std(0, correction=0)
        std = torch.where(std > 0, std, 1.0)  # a column that never changes
        mean = photos.mean(0)
        (start,) = self.start
        if start:
            start.fit_closed(train)
            mean, weight = start.mean.double(), start.map.T * std
            # the length of W changes no embedding, but how fast it turns: as long as random weights
            self.linear.weight.copy_(weight * self.linear.weight.norm() / weight.norm())
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.fitted.fill_(True)

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, E) float32 embeddings of unit length."""
        check_width(features, self.in_dim)
        return functional.normalize(self.linear((features - self.mean) / self.std).float(), dim=1)
