"""Linear discriminant analysis with every couple as a class of two."""

import torch
from torch import Tensor

from style_match.errors import UserError
from style_match.gallery import TrainSet
from style_match.head.algebra import covariance, leading, shrunk, whitening
from style_match.head.closed_form import ClosedForm, at_most


class PairLDA(ClosedForm):
    """Directions in which people differ and partners do not, each weighted by how much.

    W is the covariance within couples, half that of the partners' difference, with `shrinkage` on its diagonal. In the
    space where W is the identity, the leading eigenvectors of the total covariance are kept; an eigenvalue is 1 where
    partners are as unlike as strangers, so each direction is weighted by sqrt(eigenvalue - 1), as by its signal.

    Args:
        dim: E, directions that are kept.
        shrinkage: times the mean eigenvalue of W, added to its diagonal.
    """

    mean: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, dim: int, shrinkage: float):
        super().__init__(in_dim=in_dim, dim=at_most("dim", dim, in_dim))
        self.shrinkage = shrinkage
        self.register_buffer("mean", torch.zeros(in_dim))
        self.register_buffer("map", torch.zeros(in_dim, dim))

    def solve(self, train: TrainSet) -> None:
        left, right = train.couples()
        both = torch.cat([left, right])
        mean = both.mean(0)
        white = whitening(shrunk(covariance(left - right) / 2, self.shrinkage))
        values, vectors = leading(white.T @ covariance(both - mean) @ white, self.dim)
        if not values[0] > 1:
            raise UserError(
                f"With shrinkage {self.shrinkage:g} this head finds no direction in which people differ more than "
                "partners do: lower head.shrinkage (head.start.shrinkage, head.base.shrinkage), or take another head."
            )
        self.mean.copy_(mean)
        self.map.copy_(white @ vectors * (values - 1).clamp(min=0).sqrt())

    def project(self, features: Tensor, side: Tensor | None) -> Tensor:
        return (features - self.mean) @ self.map
