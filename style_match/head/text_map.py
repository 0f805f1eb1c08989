"""From features of texts to the embeddings of the photos they are about: regularised canonical correlation.

With X the embeddings of photos and T the features of their texts, both centred, A and B are the leading directions of
their canonical correlation (H. Hotelling 1936), each weighted by the root of its correlation. A text goes to A B' t:
its inner product with a photo's embedding is that of the two in the common directions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from style_match.head.algebra import covariance, shrunk, signs, whitening
from style_match.head.closed_form import check_width


class TextMap(nn.Module):
    """Fitted once by `fit`; travels in the state dict.

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
