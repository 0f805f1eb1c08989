"""Shuffled batches of labelled items, whatever their classes: what PK batches are compared with."""

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from style_match.utils.errors import UserError


class PlainSampler(Sampler[list[int]]):
    """Deals every item once an epoch, in a new random order; items that do not fill a last batch are left out.

    A batch may lack a positive for an item, which the losses then pass over. Under several processes every rank
    computes the same batches and yields its own slice.

    Args:
        labels: (N,) class of each training item; only their number is used.
        batch_size: Items over all processes together, at least 2 and at most N.
        seed: Not negative; same seed and epoch, same batches.

    Raises:
        UserError: An option out of range, or a batch that the ranks cannot share evenly.
    """

    def __init__(self, *, labels: Sequence[Hashable], batch_size: int, seed: int, num_replicas: int = 1, rank: int = 0):
        if not 2 <= batch_size <= len(labels):
            raise UserError(
                f"sampler.batch_size={batch_size} must be at least 2 and at most the {len(labels)} items of the "
                "training split."
            )
        if batch_size % num_replicas:
            raise UserError(
                f"sampler.batch_size={batch_size} cannot be shared evenly by {num_replicas} processes: use a multiple "
                f"of {num_replicas}."
            )
        self.num_items, self.batch_size, self.seed = len(labels), batch_size, seed
        self.num_replicas, self.rank = num_replicas, rank
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_items // self.batch_size

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_items).tolist()
        share = self.batch_size // self.num_replicas
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield order[start + self.rank * share : start + (self.rank + 1) * share]
