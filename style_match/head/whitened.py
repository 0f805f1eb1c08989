"""Cosine of centred and PCA-whitened features."""

import torch
from torch import Tensor

from style_match.gallery import TrainSet
from style_match.head.algebra import covariance, leading, shrunk
from style_match.head.closed_form import ClosedForm, at_most


class Whitened(ClosedForm):
    """V (h - mean) / sqrt(eigenvalue): the leading principal directions of the training photos, each of variance 1.

    Args:
        dim: E, directions that are kept.
        shrinkage: times the mean eigenvalue, added to each: what is rare is magnified less.
    """

    mean: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, dim: int, shrinkage: float):
        super().__init__(in_dim=in_dim, dim=at_most("dim", dim, in_dim))
        self.shrinkage = shrinkage
        self.register_buffer("mean", torch.zeros(in_dim))
        self.register_buffer("map", torch.zeros(in_dim, dim))

    def solve(self, train: TrainSet) -> None:
        photos = train.photos.double()
        mean = photos.mean(0)
        values, vectors = leading(shrunk(covariance(photos - mean), self.shrinkage), self.dim)
        self.mean.copy_(mean)
        self.map.copy_(vectors / values.sqrt())

    def project(self, features: Tensor, side: Tensor | None) -> Tensor:
        return (features - self.mean) @ self.map
