"""Batches of unit vectors e = z / |z| for the losses; gradients are compared at z, where all normalise alike."""

import pytest
import torch
from torch.nn import functional


@pytest.fixture
def couples():
    """Maker of (z, embeddings, labels, side) in float64: left rows, then right rows in another order."""

    def make(num=6, dim=5, seed=0, labels=None):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(2 * num, dim, generator=generator, dtype=torch.float64, requires_grad=True)
        left = torch.arange(num) if labels is None else torch.tensor(labels)
        labels = torch.cat([left, left[torch.randperm(num, generator=generator)]])
        return z, functional.normalize(z, dim=1), labels, torch.arange(2).repeat_interleave(num)

    return make


@pytest.fixture
def styles():
    """Maker of (z, embeddings, labels) in float64."""

    def make(labels, dim=5, seed=0):
        generator = torch.Generator().manual_seed(seed)
        z = torch.randn(len(labels), dim, generator=generator, dtype=torch.float64, requires_grad=True)
        return z, functional.normalize(z, dim=1), torch.tensor(labels)

    return make
