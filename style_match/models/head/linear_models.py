"""Heads that are linear maps computed at once: centred, whitened, ridge, CCA, pair LDA, and the map for texts."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from style_match.data.datamodule import TrainSet
from style_match.models.head.closed_form import (
    ClosedForm,
    check_width,
    checked_dim,
    covariance,
    leading,
    shrunk,
    signs,
    whitening,
)
from style_match.utils.errors import UserError

# Cosine of centred features: the mean, which all photos share, does not separate people.


class Centred(ClosedForm):
    """h - mean over the training photos."""

    mean: Tensor

    def __init__(self, *, in_dim: int):
        super().__init__(in_dim=in_dim, dim=in_dim)
        self.register_buffer("mean", torch.zeros(in_dim))

    def solve(self, train: TrainSet) -> None:
        self.mean.copy_(train.photos.double().mean(0))

    def project(self, features: Tensor, side: Tensor | None) -> Tensor:
        return features - self.mean


# Cosine of centred and PCA-whitened features.


class Whitened(ClosedForm):
    """V (h - mean) / sqrt(eigenvalue): the leading principal directions of the training photos, each of variance 1.

    Args:
        dim: E, the number of directions that are kept.
        shrinkage: Times the mean eigenvalue, added to each eigenvalue: rare directions are magnified less.
    """

    mean: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, dim: int, shrinkage: float):
        super().__init__(in_dim=in_dim, dim=checked_dim(dim, in_dim))
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


# Ridge regression from one side of a couple to the other.


DIRECTIONS = ("both", "left_to_right", "right_to_left")


class Ridge(ClosedForm):
    """Compares profiles with the partner that ridge regression predicts; columns are standardised for each side.

    The similarity is the cosine of the predicted and the true features; with direction=both, its mean over left to
    right and right to left, which are side by side in the embedding.

    Args:
        strength: Of the ridge, per couple: min |X B - Y|^2 / C + strength |B|^2.
        direction: "left_to_right", "right_to_left" or "both".
    """

    tells_sides = True
    mean: Tensor
    std: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, strength: float, direction: str):
        if direction not in DIRECTIONS:
            raise UserError(f"head.direction={direction} is unknown. Use one of {', '.join(DIRECTIONS)}.")
        super().__init__(in_dim=in_dim, dim=2 * in_dim if direction == "both" else in_dim)
        self.strength, self.direction = strength, direction
        self.register_buffer("mean", torch.zeros(2, in_dim))
        self.register_buffer("std", torch.ones(2, in_dim))
        self.register_buffer("map", torch.zeros(2, in_dim, in_dim))

    def solve(self, train: TrainSet) -> None:
        sides = torch.stack(train.couples())
        mean, std = sides.mean(1), sides.std(1, correction=0)
        std = torch.where(std > 0, std, 1.0)  # a column that never changes
        x = (sides - mean[:, None]) / std[:, None]
        diagonal = self.strength * torch.eye(self.in_dim, dtype=x.dtype)
        num = x.shape[1]
        maps = [torch.linalg.solve(one.T @ one / num + diagonal, one.T @ other / num) for one, other in (x, x.flip(0))]
        self.mean.copy_(mean)
        self.std.copy_(std)
        self.map.copy_(torch.stack(maps))

    def project(self, features: Tensor, side: Tensor | None) -> Tensor:
        assert side is not None
        standard = (features - self.mean[side]) / self.std[side]
        predicted = torch.where(side[:, None] == 0, standard @ self.map[0], standard @ self.map[1])
        is_left = side[:, None] == 0
        first = functional.normalize(torch.where(is_left, predicted, standard), dim=1)
        second = functional.normalize(torch.where(is_left, standard, predicted), dim=1)
        blocks = {"both": torch.cat([first, second], dim=1), "left_to_right": first, "right_to_left": second}
        return blocks[self.direction]


# Regularised canonical correlation analysis of the two sides (H. Hotelling 1936; H. D. Vinod 1976 for the ridge).


def canonical(x: Tensor, y: Tensor, dim: int, shrinkage: float) -> tuple[Tensor, ...]:
    """Return the leading `dim` canonical directions of rows x (N, D) and y (N, F).

    Returns:
        The whitening map (D, D) of x, the directions (D, dim) in that space, the same (F, F), (F, dim) of y, and the
        correlations (dim,).
    """
    x, y = x - x.mean(0), y - y.mean(0)
    white_x, white_y = (whitening(shrunk(covariance(rows), shrinkage)) for rows in (x, y))
    u, correlation, v = torch.linalg.svd(white_x.T @ (x.T @ y / len(x)) @ white_y)
    u, v, correlation = u[:, :dim], v.T[:, :dim], correlation[:dim]
    sign = signs(u)
    return white_x, u * sign, white_y, v * sign, correlation


class CCA(ClosedForm):
    """A map for each side onto the directions that correlate most, each weighted by its correlation.

    Args:
        dim: E, the number of directions that are kept.
        shrinkage: Times the mean eigenvalue, added to the diagonal of each side's covariance.
    """

    tells_sides = True
    mean: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, dim: int, shrinkage: float):
        super().__init__(in_dim=in_dim, dim=checked_dim(dim, in_dim))
        self.shrinkage = shrinkage
        self.register_buffer("mean", torch.zeros(2, in_dim))
        self.register_buffer("map", torch.zeros(2, in_dim, dim))

    def solve(self, train: TrainSet) -> None:
        sides = train.couples()
        left, u, right, v, correlation = canonical(*sides, self.dim, self.shrinkage)
        self.mean.copy_(torch.stack([side.mean(0) for side in sides]))
        self.map.copy_(torch.stack([left @ (u * correlation), right @ (v * correlation)]))

    def project(self, features: Tensor, side: Tensor | None) -> Tensor:
        assert side is not None
        left, right = ((features - mean) @ to for mean, to in zip(self.mean, self.map, strict=True))
        return torch.where(side[:, None] == 0, left, right)


# Linear discriminant analysis with every couple as a class of two.


class PairLDA(ClosedForm):
    """Directions in which people differ and partners do not, each weighted by how much.

    W is the covariance within couples, half that of the partners' difference, with `shrinkage` on its diagonal. In the
    space where W is the identity, the leading eigenvectors of the total covariance are kept; an eigenvalue is 1 where
    partners are as unlike as strangers, so each direction is weighted by sqrt(eigenvalue - 1), as by its signal.

    Args:
        dim: E, the number of directions that are kept.
        shrinkage: Times the mean eigenvalue of W, added to its diagonal.
    """

    mean: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, dim: int, shrinkage: float):
        super().__init__(in_dim=in_dim, dim=checked_dim(dim, in_dim))
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
                "partners do. Lower head.shrinkage (head.start.shrinkage, head.base.shrinkage), or use another head."
            )
        self.mean.copy_(mean)
        self.map.copy_(white @ vectors * (values - 1).clamp(min=0).sqrt())

    def project(self, features: Tensor, side: Tensor | None) -> Tensor:
        return (features - self.mean) @ self.map


class TextMap(nn.Module):
    """From features of texts to the embeddings of the photos they are about: regularised canonical correlation.

    With X the embeddings of photos and T the features of their texts, both centred, A and B are the leading directions
    of their canonical correlation (H. Hotelling 1936), each weighted by the root of its correlation. A text goes to
    A B' t: its inner product with a photo's embedding is that of the two in the common directions.

    Fitted once by `fit`; saved in the state dict.

    Args:
        in_dim: Width of the texts' features.
        dim: E, the width of the photos' embeddings.
        rank: Number of directions that are kept; at most as many as both have.
        shrinkage: Times the mean eigenvalue, added to the diagonal of each covariance.
    """

    mean: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, dim: int, rank: int, shrinkage: float):
        super().__init__()
        self.in_dim, self.dim, self.rank, self.shrinkage = in_dim, dim, min(rank, in_dim, dim), shrinkage
        self.register_buffer("mean", torch.zeros(in_dim))
        self.register_buffer("map", torch.zeros(in_dim, dim))

    @torch.no_grad()
    def fit(self, photos: Tensor, texts: Tensor) -> None:
        """Fit to embeddings (N, E) of photos and features (N, D) of a text of each.

        Raises:
            UserError: The embeddings or the features do not differ from each other.
        """
        photos, texts = photos.double(), texts.double()
        of_photos, u, of_texts, v, correlation = canonical(photos, texts, self.rank, self.shrinkage)
        self.mean.copy_(texts.mean(0))
        self.map.copy_((of_texts @ (v * correlation)) @ (of_photos @ u).T)

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, E) float32 of unit length."""
        check_width(features, self.in_dim)
        return functional.normalize(((features.float() - self.mean) @ self.map).float(), dim=1)
