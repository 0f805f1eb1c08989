"""The linear algebra that the closed forms share: float64, and the same bits each time."""

import torch
from torch import Tensor

from style_match.errors import UserError


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
