"""Embeddings whose partners have every rank, and the peak memory of ranking them; `evaluation.py` starts it."""

import sys
import time

import memory
import torch
from torch import Tensor
from torch.nn.functional import normalize

from style_match.evaluation.ranks import couple_ranks


def planted(count: int, dim: int) -> tuple[Tensor, Tensor]:
    """Unit rows (count, dim) twice; row i has with row i a cosine between 0 and 0.3, so all ranks to the middle."""
    generator = torch.Generator().manual_seed(0)
    left, right = (normalize(torch.randn(count, dim, generator=generator), dim=1) for _ in range(2))
    share = 0.3 * torch.rand(count, 1, generator=generator)
    right.mul_((1 - share**2).sqrt())
    for rows, part, of in zip(right.split(1000), share.split(1000), left.split(1000), strict=True):
        rows.addcmul_(part, of)
    return left, normalize(right, dim=1)


if __name__ == "__main__":
    count, dim, asked, block, num = map(int, sys.argv[1:])
    left, right = planted(count, dim)
    torch.mm(left[:block], right[:block].T)  # the library's own buffers
    memory.begin_anew()
    before = memory.resident()
    began = time.perf_counter()
    couple_ranks(left, right, torch.arange(asked // 2)[:, None].repeat(1, 2), block=block, num_answers=num)
    seconds = time.perf_counter() - began
    print((memory.highest() - before) / 1e9, seconds)
