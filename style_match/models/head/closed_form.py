"""Heads that are computed from the training features at once, without gradient steps.

Shapes: P photos, C couples, D feature width, E embedding width.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from style_match.data.datamodule import TrainSet
from style_match.utils.errors import UserError

# Linear algebra in float64 that gives the same bits each time.


def covariance(rows: Tensor) -> Tensor:
    """Return the (D, D) mean of the outer products of centred rows (N, D)."""
    return rows.T @ rows / len(rows)


def shrunk(cov: Tensor, shrinkage: float) -> Tensor:
    """Return a covariance (D, D) with `shrinkage` times its mean eigenvalue added to the diagonal.

    Raises:
        UserError: The covariance is zero, so there are no directions.
    """
    level = cov.diagonal().mean()
    if not level > 0:
        raise UserError("The training features do not differ from each other. Check the photos and the pooling.")
    return cov + shrinkage * level * torch.eye(len(cov), dtype=cov.dtype)


def leading(symmetric: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Return the `num` largest eigenvalues, largest first, and their eigenvectors (D, num) with fixed signs."""
    values, vectors = torch.linalg.eigh(symmetric)
    values, vectors = values.flip(0)[:num], vectors.flip(1)[:, :num]
    return values, vectors * signs(vectors)


def signs(vectors: Tensor) -> Tensor:
    """Return the sign (K,) of the largest entry of each column, which an eigensolver leaves open."""
    return vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign().squeeze(0)


def whitening(cov: Tensor) -> Tensor:
    """Return W (D, D) with W' cov W = I, for a covariance of full rank."""
    values, vectors = leading(cov, len(cov))
    return vectors / values.sqrt()


class ClosedForm(nn.Module):
    """Base of the closed forms: fitted once by `fit_closed`, which calls `solve`; saved in the state dict.

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
        """Turn (B, D) float32 features into (B, E) of any length."""
        raise NotImplementedError

    def is_fitted(self) -> bool:
        return bool(self.fitted)

    @torch.no_grad()
    def fit_closed(self, train: TrainSet) -> None:
        """Fit to the training features.

        Raises:
            UserError: The data has no couples but the head needs them, or the features do not differ.
        """
        self.solve(train)
        self.fitted.fill_(True)

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, E) float32 embeddings of unit length; `side` (B,) is 0 for left, 1 for right.

        Raises:
            UserError: The features have another width, or `side` is missing but needed.
        """
        check_width(features, self.in_dim)
        if self.tells_sides:
            side = required(side)
        if not self.fitted:
            raise RuntimeError(f"{type(self).__name__} is used before fit_closed")
        return functional.normalize(self.project(features.float(), side).float(), dim=1)


def check_width(features: Tensor, in_dim: int) -> None:
    """Raise UserError for features (B, D) that are not `in_dim` wide."""
    if features.shape[1] != in_dim:
        raise UserError(
            f"The head was made for features {in_dim} wide, these are {features.shape[1]} wide. Use the backbone that "
            "the head was trained on."
        )


def required(side: Tensor | None) -> Tensor:
    """Return the sides (B,); UserError if there are none."""
    if side is None:
        raise UserError(
            "This head treats left and right profiles differently, but these profiles have no sides. Use head=mlp."
        )
    return side


def checked_dim(dim: int, in_dim: int) -> int:
    """Return `dim`; UserError if the features do not have that many directions."""
    if not 1 <= dim <= in_dim:
        raise UserError(f"head.dim={dim} must be from 1 to {in_dim}, the width of the features.")
    return dim
