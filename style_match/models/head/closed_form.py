"""Heads that are computed from the training features at once, without gradient steps.

Shapes: P photos, C couples, D feature width, E embedding width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from style_match.data.datamodule import TrainSet
from style_match.utils.errors import UserError

# The linear algebra that the closed forms share: float64, and the same bits each time.


def covariance(rows: Tensor) -> Tensor:
    """(D, D) mean of the outer products of centred rows (N, D)."""
    return rows.T @ rows / len(rows)


def shrunk(cov: Tensor, shrinkage: float) -> Tensor:
    """A covariance (D, D) with `shrinkage` times its mean eigenvalue added to the diagonal.

    Raises:
        UserError: the covariance is zero, so that there is no direction to be found.
    """
    level = cov.diagonal().mean()
    if not level > 0:
        raise UserError("The training features do not differ from each other: look at the photos, or at the pooling.")
    return cov + shrinkage * level * torch.eye(len(cov), dtype=cov.dtype)


def leading(symmetric: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The `num` largest eigenvalues, falling, and their eigenvectors (D, num), largest entry of each positive."""
    values, vectors = torch.linalg.eigh(symmetric)
    values, vectors = values.flip(0)[:num], vectors.flip(1)[:, :num]
    return values, vectors * signs(vectors)


def signs(vectors: Tensor) -> Tensor:
    """(K,) the sign of the largest entry of each column, which an eigensolver leaves open."""
    return vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign().squeeze(0)


def whitening(cov: Tensor) -> Tensor:
    """(D, D) W with W' cov W = I, for a covariance of full rank."""
    values, vectors = leading(cov, len(cov))
    return vectors / values.sqrt()


class ClosedForm(nn.Module):
    """What closed forms share: fitted once by `fit_closed`, which `solve` of each does; travels in the state dict.

    Args:
        in_dim: D.
        dim: E.
    """

    tells_sides = False  # whether `project` needs the side of each profile
    fitted: Tensor

    def __init__(self, *, in_dim: int, dim: int):
        super().__init__()
        self.in_dim, self.dim = in_dim, dim
        self.register_buffer("fitted", torch.tensor(False))

    def solve(self, train: TrainSet) -> None:
        """Fill the buffers."""
        raise NotImplementedError

    def project(self, features: Tensor, side: Tensor | None) -> Tensor:
        """(B, D) float32 features to (B, E), of any length."""
        raise NotImplementedError

    def is_fitted(self) -> bool:
        return bool(self.fitted)

    @torch.no_grad()
    def fit_closed(self, train: TrainSet) -> None:
        """Fit to the training features.

        Raises:
            UserError: data of another kind than the head is made for, or features that do not differ.
        """
        self.solve(train)
        self.fitted.fill_(True)

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, E) float32 embeddings of unit length; `side` (B,) is 0 for left, 1 for right.

        Raises:
            UserError: features of another width, or no `side` where the head needs it.
        """
        check_width(features, self.in_dim)
        if self.tells_sides:
            side = known(side)
        if not self.fitted:
            raise RuntimeError(f"{type(self).__name__} is used before fit_closed")
        return functional.normalize(self.project(features.float(), side).float(), dim=1)


def check_width(features: Tensor, in_dim: int) -> None:
    """Raises UserError for features (B, D) that are not `in_dim` wide."""
    if features.shape[1] != in_dim:
        raise UserError(
            f"The head was made for features {in_dim} wide, these are {features.shape[1]} wide: use the "
            "backbone the head was trained on."
        )


def known(side: Tensor | None) -> Tensor:
    """The sides (B,) that a head tells apart; UserError where there are none."""
    if side is None:
        raise UserError("This head tells the sides of couples apart, and these profiles have none: use head=mlp.")
    return side


def at_most(name: str, width: int, in_dim: int) -> int:
    """`width`; UserError where the features have not so many directions, or there is none."""
    if not 1 <= width <= in_dim:
        raise UserError(f"head.{name}={width} must be from 1 to {in_dim}, the width of the features.")
    return width
