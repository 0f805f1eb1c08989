"""Regularised canonical correlation analysis of the two sides (H. Hotelling 1936; H. D. Vinod 1976 for the ridge)."""

import torch
from torch import Tensor

from style_match.gallery import TrainSet
from style_match.head.algebra import covariance, shrunk, signs, whitening
from style_match.head.closed_form import ClosedForm, at_most


class CCA(ClosedForm):
    """A map for each side onto the directions that correlate most, each weighted by its correlation.

    Args:
        dim: E, directions that are kept.
        shrinkage: times the mean eigenvalue, added to the diagonal of each side's covariance.
    """

    tells_sides = True
    mean: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, dim: int, shrinkage: float):
        super().__init__(in_dim=in_dim, dim=at_most("dim", dim, in_dim))
        self.shrinkage = shrinkage
        self.register_buffer("mean", torch.zeros(2, in_dim))
        self.register_buffer("map", torch.zeros(2, in_dim, dim))

    def solve(self, train: TrainSet) -> None:
        sides = train.couples()
        means = [side.mean(0) for side in sides]
        left, right = (side - mean for side, mean in zip(sides, means, strict=True))
        whites = [whitening(shrunk(covariance(side), self.shrinkage)) for side in (left, right)]
        u, correlation, v = torch.linalg.svd(whites[0].T @ (left.T @ right / len(left)) @ whites[1])
        kept, others, weight = u[:, : self.dim], v.T[:, : self.dim], correlation[: self.dim]
        sign = signs(kept)
        self.mean.copy_(torch.stack(means))
        self.map.copy_(torch.stack([whites[0] @ (kept * sign * weight), whites[1] @ (others * sign * weight)]))

    def project(self, features: Tensor, side: Tensor | None) -> Tensor:
        assert side is not None
        left, right = ((features - mean) @ to for mean, to in zip(self.mean, self.map, strict=True))
        return torch.where(side[:, None] == 0, left, right)
