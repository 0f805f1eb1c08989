"""TextMap against canonical correlation as one generalised eigenproblem."""

import numpy as np
import pytest
import torch
from scipy import linalg

from style_match.models.head.linear_models import TextMap

NUM, IN_DIM, DIM = 150, 7, 5


@pytest.mark.parametrize("rank", [2, 5, 9])
def test_a_text_goes_to_the_common_directions_weighted_by_their_correlations(rank):
    """[0 S; S' 0] w = rho [A 0; 0 B] w for photos and texts; t goes to the sum of rho w_photo (w_text . t)."""
    generator = torch.Generator().manual_seed(0)
    common = torch.randn(NUM, 3, generator=generator) * torch.tensor([2.0, 1.0, 0.5])
    photos, texts = (
        common @ torch.randn(3, dim, generator=generator) + torch.randn(NUM, dim, generator=generator) + 1
        for dim in (DIM, IN_DIM)
    )
    shrinkage = 0.2
    text_map = TextMap(in_dim=IN_DIM, dim=DIM, rank=rank, shrinkage=shrinkage)
    text_map.fit(photos, texts)
    x, y = ((rows - rows.mean(0)).double().numpy() for rows in (photos, texts))
    within = [np.cov(rows.T, bias=True) for rows in (x, y)]
    within = [cov + shrinkage * np.linalg.eigvalsh(cov).mean() * np.eye(len(cov)) for cov in within]
    across = x.T @ y / NUM
    both = np.block([[np.zeros((DIM, DIM)), across], [across.T, np.zeros((IN_DIM, IN_DIM))]])
    rho, w = linalg.eigh(both, linalg.block_diag(*within))
    # each half of a direction has half of the length 1 that both have together
    halves = [2**0.5 * w[part, -min(rank, DIM) :] for part in (slice(None, DIM), slice(DIM, None))]
    expected = y @ halves[1] * rho[-min(rank, DIM) :] @ halves[0].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(text_map(texts).double().numpy(), expected, rtol=1e-3, atol=1e-4)
