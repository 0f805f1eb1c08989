"""Heads that are linear maps computed at once: centred, whitened, ridge, CCA, pair LDA, and the map for texts."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from style_match.data.datamodule import TrainSet
from style_match.models.head.closed_form import (
    ClosedForm,
    at_most,
    check_width,
    covariance,
    leading,
    shrunk,
    signs,
    whitening,
)
from style_match.utils.errors import UserError

# Cosine of centred features: the mean that all photos share tells nobody apart.


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


# Ridge regression from one side of a couple to the other.


DIRECTIONS = ("both", "left_to_right", "right_to_left")


class Ridge(ClosedForm):
    """Who looks like the partner that ridge regression foretells; all in columns standardised for each side.

    The similarity is the cosine of the foretold and the true features; with direction=both, its mean over left to right
    and right to left, which the embedding holds side by side.

    Args:
        strength: of the ridge, a couple: min |X B - Y|^2 / C + strength |B|^2.
        direction: "left_to_right", "right_to_left" or "both".
    """

    tells_sides = True
    mean: Tensor
    std: Tensor
    map: Tensor

    def __init__(self, *, in_dim: int, strength: float, direction: str):
        if direction not in DIRECTIONS:
            raise UserError(f"head.direction={direction}: write one of {', '.join(DIRECTIONS)}.")
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
        foretold = torch.where(side[:, None] == 0, standard @ self.map[0], standard @ self.map[1])
        is_left = side[:, None] == 0
        first = functional.normalize(torch.where(is_left, foretold, standard), dim=1)
        second = functional.normalize(torch.where(is_left, standard, foretold), dim=1)
        blocks = {"both": torch.cat([first, second], dim=1), "left_to_right": first, "right_to_left": second}
        return blocks[self.direction]


# Regularised canonical correlation analysis of the two sides (H. Hotelling 1936; H. D. Vinod 1976 for the ridge).


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


# Linear discriminant analysis with every couple as a class of two.


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


class TextMap(nn.Module):
    """From features of texts to the embeddings of the photos they are about: regularised canonical correlation.

    With X the embeddings of photos and T the features of their texts, both centred, A and B are the leading directions
    of their canonical correlation (H. Hotelling 1936), each weighted by the root of its correlation. A text goes to
    A B' t: its inner product with a photo's embedding is that of the two in the common directions.

    Fitted once by `fit`; travels in the state dict.

    Args:
        in_dim: width of the texts' features.
        dim: E, width of the photos' embeddings.
        rank: directions that are kept; at most as many as both have.
        shrinkage: times the mean eigenvalue, added to the diagonal of each covariance.
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
            UserError: embeddings or features that do not differ from each other.
        """
        photos, texts = photos.double(), texts.double()
        centred = [rows - rows.mean(0) for rows in (photos, texts)]
        white = [whitening(shrunk(covariance(rows), self.shrinkage)) for rows in centred]
        u, correlation, v = torch.linalg.svd(white[0].T @ (centred[0].T @ centred[1] / len(photos)) @ white[1])
        kept, others, weight = u[:, : self.rank], v.T[:, : self.rank], correlation[: self.rank]
        sign = signs(kept)
        self.mean.copy_(texts.mean(0))
        self.map.copy_((white[1] @ (others * sign * weight)) @ (white[0] @ (kept * sign)).T)

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, E) float32 of unit length."""
        check_width(features, self.in_dim)
        return functional.normalize(((features.float() - self.mean) @ self.map).float(), dim=1)
