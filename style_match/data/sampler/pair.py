"""Batches of couples in which the only true partner of a profile is its own.

A batch is an induced matching of the graph of known couples (K. Cameron, "Induced matchings", Discrete Applied
Mathematics 24, 1989): nobody is in it twice, on whichever side, and no known couple joins two of its couples. All
others of the batch are then true negatives, as eq. 4 of the paper takes them to be.
"""

import heapq
import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from style_match.utils.errors import UserError

log = logging.getLogger(__name__)

MAX_DRAWS = 100  # of an epoch of entangled people, until every batch holds two couples
NUM_COUNTED = 10  # epochs over which it is counted how often couples are kept out by their own conflicts


class Matching:
    """Grows induced matchings from couples `(left_ids[i], right_ids[i])` of people, who may stand on both sides."""

    def __init__(
        self,
        left_ids: Sequence[Hashable],
        right_ids: Sequence[Hashable],
        known_couples: Iterable[tuple[Hashable, Hashable]] = (),
    ):
        self.people = list(zip(left_ids, right_ids, strict=True))
        self.partners: dict[Hashable, set[Hashable]] = {}
        for left, right in (*self.people, *known_couples):
            self.partners.setdefault(left, set()).add(right)
            self.partners.setdefault(right, set()).add(left)

    def __len__(self) -> int:
        return len(self.people)

    def has_conflicts(self, couple: int) -> bool:
        """Whether the two people of a couple have further partners."""
        left, right = self.people[couple]
        return len(self.partners[left]) + len(self.partners[right]) > 2

    def deal(self, capacities: Sequence[int], order: Iterable[int], rng: np.random.Generator) -> list[list[int]]:
        """Put each couple of `order` into the roomiest batch it fits; couples that fit nowhere are left out.

        A couple fits where no partner of the two is in the batch. Everybody in it has a partner there, so neither of
        the two is in it already.

        Returns:
            one list of couples for each of `capacities`, at most that long.
        """
        batches: list[list[int]] = [[] for _ in capacities]
        people: list[set] = [set() for _ in capacities]
        # ties of room are broken by a random number, so that equal batches are filled in random order
        heap = [(-room, rng.random(), batch) for batch, room in enumerate(capacities)]
        heapq.heapify(heap)
        for couple in order:
            left, right = self.people[couple]
            passed_over = []
            while heap:
                room, tie, batch = heapq.heappop(heap)
                if people[batch].isdisjoint(self.partners[left]) and people[batch].isdisjoint(self.partners[right]):
                    batches[batch].append(couple)
                    people[batch].update(self.people[couple])
                    if room + 1 < 0:
                        heapq.heappush(heap, (room + 1, rng.random(), batch))
                    break
                passed_over.append((room, tie, batch))
            for entry in passed_over:
                heapq.heappush(heap, entry)
        return batches

    def cover(self, max_size: int) -> list[list[int]]:
        """Few matchings of at most `max_size` that together hold every couple; one if no two couples share people.

        Each is as large as can be found, so a couple may be in several. Matchings of a single couple, which have no
        negatives, are left out.
        """
        rng = np.random.default_rng(0)
        waiting, done = list(range(len(self))), list[int]()
        batches: list[list[int]] = []
        while waiting:
            batches += self.deal([max_size], waiting + done, rng)
            taken = set(batches[-1])
            done += [couple for couple in waiting if couple in taken]
            waiting = [couple for couple in waiting if couple not in taken]
        return [batch for batch in batches if len(batch) > 1]


class PairSampler(Sampler[list[int]]):
    """Draws the couples of each batch; no couple twice in an epoch, a new partition every epoch.

    An epoch has N // batch_size batches and, with `drop_last=False`, one more of the couples left over (at least two,
    since a single couple has no negatives). Which couples an epoch has no place for is drawn uniformly, so that every
    couple has the same share. A drawn couple is replaced only if it fits into no batch because of the people it shares
    with others; the log counts these. Every rank computes the same batches and yields its own slice.

    Args:
        left_ids, right_ids: the people of the N training couples, position i being one couple.
        known_couples: (left id, right id) of further couples that must not stand across a batch.
        batch_size: couples a batch, over all ranks together.
        drop_last: leave out the couples that do not fill a batch.
        seed: not negative; same seed and epoch, same batches.

    Raises:
        UserError: an option out of range, or fewer couples than a batch.
    """

    def __init__(
        self,
        *,
        left_ids: Sequence[Hashable],
        right_ids: Sequence[Hashable],
        known_couples: Iterable[tuple[Hashable, Hashable]] = (),
        batch_size: int,
        drop_last: bool,
        seed: int,
        num_replicas: int = 1,
        rank: int = 0,
    ):
        if batch_size < 2:
            raise UserError(f"sampler.batch_size={batch_size} must be at least 2: a single couple has no negatives.")
        if batch_size % num_replicas:
            raise UserError(
                f"sampler.batch_size={batch_size} counts the couples of all processes and cannot be shared evenly by "
                f"{num_replicas}: use a multiple of {num_replicas}."
            )
        if seed < 0:
            raise UserError(f"seed={seed} must not be negative.")
        self.matching = Matching(left_ids, right_ids, known_couples)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0
        self.num_replicas, self.rank = num_replicas, rank
        self.capacities = self._capacities(drop_last)
        self._warn_of_conflicts()

    def _warn_of_conflicts(self) -> None:
        has_conflicts = any(map(self.matching.has_conflicts, range(len(self.matching))))
        draws = [self._draw(epoch) for epoch in range(NUM_COUNTED if has_conflicts else 1)]
        smallest = min(map(len, draws[0][0]))
        if smallest < min(self.capacities):
            log.warning(
                "People in several couples keep a batch from being filled: sampler.batch_size=%d, but the smallest "
                "batch of the first epoch has %d couples.",
                self.batch_size,
                smallest,
            )
        if times := Counter(couple for _, kept_out in draws for couple in kept_out):
            log.warning(
                "%d of %d training couples share people with so many others that some epochs have no place for them: "
                "they sit out %.0f %% of the epochs on average, and at most %.0f %% (of the first %d epochs).",
                len(times),
                len(self.matching),
                100 * times.total() / len(times) / NUM_COUNTED,
                100 * max(times.values()) / NUM_COUNTED,
                NUM_COUNTED,
            )

    def _capacities(self, drop_last: bool) -> list[int]:
        num_full, rest = divmod(len(self.matching), self.batch_size)
        rest -= rest % self.num_replicas
        capacities = [self.batch_size] * num_full + ([rest] if rest >= 2 and not drop_last else [])
        if not capacities:
            needed, remedy = self.batch_size if drop_last else max(2, self.num_replicas), "add couples."
            if drop_last and len(self.matching) >= 2:
                remedy = f"set sampler.batch_size to {len(self.matching)} or less, or sampler.drop_last=false."
            raise UserError(
                f"{len(self.matching)} training couples are fewer than the {needed} of a batch "
                f"(sampler.batch_size={self.batch_size}, sampler.drop_last={str(drop_last).lower()}): {remedy}"
            )
        return capacities

    def batches(self, epoch: int) -> list[list[int]]:
        """The joined batches of an epoch, the same on every rank.

        Raises:
            UserError: the people are so entangled that in no draw every batch holds two couples.
        """
        return self._draw(epoch)[0]

    def _draw(self, epoch: int) -> tuple[list[list[int]], set[int]]:
        """The batches of an epoch, and the couples that were drawn for it but fit into no batch."""
        rng = np.random.default_rng((self.seed, epoch))
        fewest = max(2, self.num_replicas)
        num_places = sum(self.capacities)
        for _ in range(MAX_DRAWS):
            order = rng.permutation(len(self.matching)).tolist()
            drawn, waiting = order[:num_places], order[num_places:]
            # couples with conflicts choose first, in random order; those without fill the gaps
            drawn.sort(key=self.matching.has_conflicts, reverse=True)
            batches = self.matching.deal(self.capacities, drawn + waiting, rng)
            batches = [batch[: len(batch) - len(batch) % self.num_replicas] for batch in batches]
            if all(len(batch) >= fewest for batch in batches):
                break
        else:
            raise UserError(
                f"The {len(self.matching)} training couples share so many people that an epoch of "
                f"{len(batches)} batches leaves one with fewer than {fewest} couples of different people: raise "
                f"sampler.batch_size={self.batch_size} (fewer batches) or add couples."
            )
        for batch in batches:
            rng.shuffle(batch)  # else those with conflicts would all come first and go to the same rank
        return batches, set(drawn).difference(*batches)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.capacities)

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.batches(self.epoch):
            share = len(batch) // self.num_replicas
            yield batch[self.rank * share : (self.rank + 1) * share]
