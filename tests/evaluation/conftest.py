import random

import pytest
import torch

from style_match.evaluation.evaluator import Evaluator

SETTINGS = {
    "ks": None,
    "default_ks": [5, 10, 20, 30, 50],
    "confidence": 0.95,
    "num_resamples": 200,
    "seed": 0,
    "block": 7,
    "csls_k": None,
    "num_answers": 3,
}


@pytest.fixture(scope="session")
def evaluator():
    return lambda **changes: Evaluator(**(SETTINGS | changes))


@pytest.fixture(scope="session")
def unit_rows():
    """Unit rows of small whole numbers, so that many similarities are exactly equal, or of Gaussian numbers."""

    def make(count: int, dim: int, seed: int, *, coarse: bool) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        if coarse:
            rows = torch.randint(0, 2, (count, dim), generator=generator).float()
            rows[:, 0] = 1
        else:
            rows = torch.randn(count, dim, generator=generator)
        return torch.nn.functional.normalize(rows, dim=1)

    return make


@pytest.fixture(scope="session")
def random_couples():
    """Distinct couples in which every profile occurs, and some several times."""

    def make(left: int, right: int, seed: int) -> list[tuple[int, int]]:
        rng = random.Random(seed)
        couples = {(i, rng.randrange(right)) for i in range(left)} | {(rng.randrange(left), j) for j in range(right)}
        return sorted(couples, key=lambda _: rng.random())

    return make
