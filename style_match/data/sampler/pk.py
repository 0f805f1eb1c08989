"""P classes with K items each in every batch: A. Hermans, L. Beyer, B. Leibe, "In Defense of the Triplet Loss for
Person Re-Identification", arXiv:1703.07737, section 2.
"""

import logging
import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from style_match.utils.errors import UserError

log = logging.getLogger(__name__)


class PKSampler(Sampler[list[int]]):
    """Draws `num_classes` classes and `num_samples` items of each for every batch, new ones every epoch.

    Classes are covered evenly: over an epoch their numbers of appearances differ by at most one, and the items of a
    class are dealt in whole passes. Only a class with fewer than K items repeats an item within a batch. Under several
    processes every rank computes the same batches and yields its own slice.

    Args:
        labels: (N,) class of each training item.
        num_classes: P, at least 2.
        num_samples: K, at least 2.
        num_batches: Batches an epoch; None for ceil(N / (P * K)).
        seed: Not negative; same seed and epoch, same batches.

    Raises:
        UserError: An option out of range, P above the number of classes, or P * K that the ranks cannot share evenly.
    """

    def __init__(
        self,
        *,
        labels: Sequence[Hashable],
        num_classes: int,
        num_samples: int,
        num_batches: int | None,
        seed: int,
        num_replicas: int = 1,
        rank: int = 0,
    ):
        if num_classes < 2:
            raise UserError(f"sampler.num_classes={num_classes} must be at least 2: a single class has no negatives.")
        if num_samples < 2:
            raise UserError(f"sampler.num_samples={num_samples} must be at least 2: a single item has no positive.")
        if num_batches is not None and num_batches < 1:
            raise UserError(
                f"sampler.num_batches={num_batches} must be at least 1, or null for one pass over the items."
            )
        if seed < 0:
            raise UserError(f"seed={seed} must not be negative.")
        self.items: dict[Hashable, list[int]] = {}
        for item, label in enumerate(labels):
            self.items.setdefault(label, []).append(item)
        if lonely := [str(label) for label, items in self.items.items() if len(items) < 2]:
            log.warning(
                "Classes with one training item, which is its own positive in a batch: %s. Add photos of them, or "
                "merge them with others.",
                ", ".join(lonely[:20]) + (f" and {len(lonely) - 20} more" if len(lonely) > 20 else ""),
            )
        if num_classes > len(self.items):
            raise UserError(
                f"sampler.num_classes={num_classes}, but the training split has {len(self.items)} classes "
                f"({', '.join(map(str, self.items))}): set sampler.num_classes={len(self.items)} or less."
            )
        if num_classes * num_samples % num_replicas:
            raise UserError(
                f"A batch of sampler.num_classes * sampler.num_samples = {num_classes * num_samples} items cannot be "
                f"shared evenly by {num_replicas} processes: use a multiple of {num_replicas}."
            )
        self.num_classes, self.num_samples, self.seed = num_classes, num_samples, seed
        self.num_batches = num_batches or math.ceil(len(labels) / (num_classes * num_samples))
        self.num_replicas, self.rank = num_replicas, rank
        self.epoch = 0

    def batches(self, epoch: int) -> list[list[int]]:
        """Return the joined batches of an epoch, the same on every rank; items of a class stand together."""
        rng = np.random.default_rng((self.seed, epoch))
        decks = [_Deck(items, rng) for items in self.items.values()]
        appearances = np.zeros(len(decks), dtype=np.int64)
        batches = []
        for _ in range(self.num_batches):
            least_seen_first = np.lexsort((rng.random(len(decks)), appearances))
            chosen = least_seen_first[: self.num_classes]
            appearances[chosen] += 1
            batches.append([item for deck in chosen for item in decks[deck].deal(self.num_samples)])
        return batches

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        share = self.num_classes * self.num_samples // self.num_replicas
        for batch in self.batches(self.epoch):
            yield batch[self.rank * share : (self.rank + 1) * share]


class _Deck:
    """The items of one class, dealt from a shuffled pile that is renewed when it runs out."""

    def __init__(self, items: list[int], rng: np.random.Generator):
        self.items, self.rng = items, rng
        self.pile: list[int] = []

    def deal(self, num: int) -> list[int]:
        hand: list[int] = []
        while len(hand) < num:
            wanted = num - len(hand)
            if not self.pile:
                # what this hand holds already goes under the pile: every run of len(items) in a hand is free of repeats
                held = set(hand[len(hand) // len(self.items) * len(self.items) :])
                pile = self.rng.permutation(self.items).tolist()
                self.pile = [item for item in pile if item in held] + [item for item in pile if item not in held]
                wanted = min(wanted, len(self.items) - len(held))
            hand += reversed(self.pile[-wanted:])
            del self.pile[-wanted:]
        return hand
