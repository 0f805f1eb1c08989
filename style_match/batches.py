"""What a training epoch and a validation are made of, batch by batch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from style_match.datamodule import Batch, MatchData

PHOTOS, VIEWS, TEXTS = 1, 2, 3  # streams of random numbers of an epoch


class TrainBatches:
    """Iterable over the training batches of an epoch.

    A profile is seen by one of its photos, and that by itself or one of its views, drawn anew every epoch. Where it is
    dealt several times, the next ones are its next photos and, after those, their next views.

    Lightning calls `set_epoch` on a loader's `sampler`, so this is its own. The epoch is read when the first batch is
    asked for, not when the iterator is made: Lightning makes it before it says at which epoch a resumed run goes on.
    """

    def __init__(self, data: "MatchData", batch_sampler: Any):
        self.data, self.batch_sampler, self.epoch = data, batch_sampler, 0

    @property
    def sampler(self) -> "TrainBatches":
        return self

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch
        self.batch_sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> "Iterator[Batch]":
        data, epoch = self.data, self.epoch
        deal = data.balance.deal(epoch)
        dealt, copies = data.split["train"][torch.from_numpy(deal.items)], torch.from_numpy(deal.copies)
        photo, view = self._uniform(PHOTOS), self._uniform(VIEWS)
        text = self._uniform(TEXTS)
        num_variants = 1 + (data.views.num if data.views is not None else 0)
        for positions in self.batch_sampler:
            items, copy = dealt[positions], copies[positions]
            if data.task == "couple":
                side = torch.arange(2).repeat_interleave(len(items))
                profiles, copy = data.couples[items].T.flatten(), copy.repeat(2)
                about = {"labels": items.repeat(2), "side": side}
            else:
                profiles, about = items, {"labels": data.labels[items]}
            photos = data.photos.one_each(profiles, photo[profiles], copy)
            views = (view[profiles] * num_variants).long() + copy // data.photos.count[profiles]
            about |= data.text_batch(photos, profiles, text[profiles])
            yield {**data.view_batch(photos, views % num_variants, epoch), **about}

    def _uniform(self, stream: int) -> Tensor:
        """(N,) numbers in [0, 1) of this epoch, one a profile."""
        rng = np.random.default_rng((self.data.seed, self.epoch, stream))
        return torch.from_numpy(rng.random(len(self.data.profile_ids)))


class OneBatch:
    """Iterable over a single batch; Lightning would take a list for several loaders."""

    def __init__(self, batch: "Batch"):
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> "Iterator[Batch]":
        yield self.batch
