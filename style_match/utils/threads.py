"""How many threads of the CPU a run computes with: sums in another order differ in their last bits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def pinned(num: int | None) -> Iterator[None]:
    """Compute with `num` threads, whatever the machine and the launcher would choose; None leaves it to them."""
    before = torch.get_num_threads()
    torch.set_num_threads(num or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
