"""Cosine of centred features: the mean that all photos share tells nobody apart."""

import torch
from torch import Tensor

from style_match.gallery import TrainSet
from style_match.head.closed_form import ClosedForm


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
