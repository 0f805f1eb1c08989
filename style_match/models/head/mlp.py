"""The projection head of the paper: z = W2 ReLU(BN(W1 h)) (eq. 2), e = z / |z| (eq. 3)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from style_match.data.datamodule import TrainSet
from style_match.models.head.closed_form import check_width
from style_match.utils.errors import UserError


class MLP(nn.Module):
    """Linear, BatchNorm, ReLU, Linear, L2; one head for both sides of a couple.

    Args:
        in_dim: D, the width of the features.
        hidden_dim: Width between the two linear layers.
        dim: E, the width of the embedding.
        bias: Whether W1 and W2 have biases; eq. 2 has none.
        standardize: Subtract the mean of the training features and divide by their standard deviation, a column at a
            time, before W1; `fit_closed` must be called once. Saved in the state dict.

    Raises:
        UserError: A width is below 1.
    """

    input_mean: Tensor
    input_std: Tensor

    def __init__(self, *, in_dim: int, hidden_dim: int, dim: int, bias: bool, standardize: bool):
        super().__init__()
        for name, width in (("hidden_dim", hidden_dim), ("dim", dim)):
            if width < 1:
                raise UserError(f"head.{name}={width} must be at least 1.")
        self.in_dim, self.dim, self.standardize = in_dim, dim, standardize
        self.linear1 = nn.Linear(in_dim, hidden_dim, bias=bias)
        self.norm = nn.BatchNorm1d(hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim, bias=bias)
        if standardize:
            # zero marks a head that is not fitted; checked once, not in every step
            self.register_buffer("input_mean", torch.zeros(in_dim))
            self.register_buffer("input_std", torch.zeros(in_dim))
        self._ready = not standardize

    def is_fitted(self) -> bool:
        """Whether nothing is left for `fit_closed` to do."""
        self._ready = self._ready or bool((self.input_std > 0).all())
        return self._ready

    def fit_closed(self, train: TrainSet) -> None:
        """Take mean and standard deviation from the training photos, each once.

        A column that never changes is divided by 1.
        """
        if not self.standardize:
            return
        features = train.photos.double()
        std = features.std(dim=0, correction=0)
        self.input_mean.copy_(features.mean(dim=0))
        self.input_std.copy_(torch.where(std > 1e-6 * features.abs().amax(dim=0), std, 1.0))
        self._ready = True

    def forward(self, features: Tensor, side: Tensor | None = None) -> Tensor:
        """(B, D) features to (B, E) float32 embeddings of unit length; `side` makes no difference.

        Raises:
            UserError: The features have another width, or a single row is given in training.
        """
        check_width(features, self.in_dim)
        if self.standardize:
            if not self.is_fitted():
                raise RuntimeError("head.standardize=true, but fit_closed was not called with the training features")
            features = (features - self.input_mean) / self.input_std
        return functional.normalize(self.project(features).float(), dim=1)

    def project(self, features: Tensor) -> Tensor:
        """Eq. 2: (B, D) to (B, E) of any length; UserError for a single row in training."""
        if self.training and len(features) < 2:
            raise UserError(
                "BatchNorm cannot train on a batch of one row. Raise sampler.batch_size (couples) or "
                "sampler.num_samples (styles)."
            )
        return self.linear2(functional.relu(self.norm(self.linear1(features))))
