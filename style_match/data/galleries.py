"""Which photos belong to which profile, and the gallery of a split: each profile once, with all its photos."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from style_match.data.sampler.pair import Matching
from style_match.utils.errors import UserError
from style_match.utils.graph import not_strangers


@dataclass(frozen=True)
class Gallery:
    """The profiles of one split, each once: for couples the left ones, then the right ones.

    Args:
        profile_ids: (N,) ids.
        num_left: how many of them are on the left; 0 for styles.
        photos: (P,) long, the photos of all these profiles.
        photo_profile: (P,) long, position of each photo's profile in `profile_ids`.
        items: what is scored: for couples (C, 2) long, positions among the left and among the right profiles; for
            styles (N,) long, the class of each profile.
        known: for couples (K, 2) long, all pairs of the gallery who are one person or a couple of any split; for styles
            (N,) long, the number of each profile's person.
        loss_batches: positions in `items` over which val/loss is computed; together they hold all items. One batch,
            unless that is too large or couples share people (`Matching.cover`).
    """

    profile_ids: tuple[str, ...]
    num_left: int
    photos: Tensor
    photo_profile: Tensor
    items: Tensor
    known: Tensor
    loss_batches: tuple[Tensor, ...]

    @property
    def left_ids(self) -> tuple[str, ...]:
        return self.profile_ids[: self.num_left]

    @property
    def right_ids(self) -> tuple[str, ...]:
        return self.profile_ids[self.num_left :]


class Photos:
    """The photos of each profile.

    Args:
        photo_profile: (P,) long, profile number of each photo, in any order.
        num_profiles: N; every profile has a photo.
    """

    def __init__(self, photo_profile: Tensor, num_profiles: int):
        # the photos of profile n are by_profile[start[n] : start[n] + count[n]]
        self.by_profile = photo_profile.argsort(stable=True)
        self.count = photo_profile.bincount(minlength=num_profiles)
        self.start = self.count.cumsum(0) - self.count
        if (self.count == 0).any():
            raise ValueError(f"profile number {int((self.count == 0).nonzero()[0])} has no photo")

    def of(self, profiles: Tensor) -> tuple[Tensor, Tensor]:
        """All photos (P,) of `profiles` (N,), and for each the position of its profile in `profiles`."""
        counts = self.count[profiles]
        position = torch.arange(len(profiles)).repeat_interleave(counts)
        within = torch.arange(len(position)) - (counts.cumsum(0) - counts)[position]
        return self.by_profile[self.start[profiles][position] + within], position

    def one_each(self, profiles: Tensor, uniform: Tensor, copies: Tensor) -> Tensor:
        """One photo (B,) of each of `profiles` (B,), chosen by the numbers `uniform` (B,) in [0, 1).

        `copies` (B,) go on from that photo to the ones after it, from the last to the first.
        """
        count = self.count[profiles]
        return self.by_profile[self.start[profiles] + ((uniform * count).long() + copies) % count]


def couple_gallery(
    profile_ids: Sequence[str],
    photos: Photos,
    people: Sequence[Hashable],
    couples: Tensor,
    items: Tensor,
    *,
    max_loss_items: int | None,
) -> Gallery:
    """The gallery of the couples at `items` (C,) of `couples` (all, 2), which are positions in `profile_ids`.

    Raises:
        UserError: all couples share people with each other, so that no loss can be computed.
    """
    (left, left_of), (right, right_of) = (torch.unique(side, return_inverse=True) for side in couples[items].T)
    profiles = torch.cat([left, right])
    rows, photo_profile = photos.of(profiles)
    left_people, right_people = ([people[number] for number in side.tolist()] for side in (left, right))
    matching = Matching([left_people[i] for i in left_of.tolist()], [right_people[i] for i in right_of.tolist()])
    batches = matching.cover(max_loss_items) if max_loss_items else []
    if max_loss_items and not batches:
        raise UserError(
            f"All {len(items)} couples of a split share people with each other, so the loss finds no negatives: add "
            "couples, or change split.seed."
        )
    return Gallery(
        profile_ids=tuple(profile_ids[number] for number in profiles.tolist()),
        num_left=len(left),
        photos=rows,
        photo_profile=photo_profile,
        items=torch.stack([left_of, right_of], dim=1),
        known=torch.tensor(
            not_strangers(left_people, right_people, [(people[one], people[other]) for one, other in couples.tolist()])
        ),
        loss_batches=tuple(torch.tensor(batch) for batch in batches),
    )


def style_gallery(
    profile_ids: Sequence[str],
    photos: Photos,
    people: Sequence[Hashable],
    labels: Tensor,
    items: Tensor,
    *,
    max_loss_items: int | None,
) -> Gallery:
    """The gallery of the profiles at `items` (N,); `labels` (all,) are the classes of all profiles.

    Raises:
        UserError: no class has two profiles, or there is one class, in the gallery or in a part of it.
    """
    rows, photo_profile = photos.of(items)
    numbers: dict[Hashable, int] = {}
    num_parts = -(-len(items) // max_loss_items) if max_loss_items else 0
    by_class = labels[items].argsort(stable=True)
    # every num_parts-th of the profiles sorted by class, so that each part has all classes
    loss_batches = tuple(by_class[part::num_parts] for part in range(num_parts))
    for batch in loss_batches:
        counts = labels[items][batch].bincount()
        if int(counts.max()) < 2 or int(counts.max()) == len(batch):
            lack = "no class with two profiles" if int(counts.max()) < 2 else "profiles of only one class"
            remedy = f"raise max_loss_items={max_loss_items}" if num_parts > 1 else "add profiles"
            raise UserError(f"{len(batch)} profiles of a split have {lack}, so the loss compares nothing: {remedy}.")
    return Gallery(
        profile_ids=tuple(profile_ids[number] for number in items.tolist()),
        num_left=0,
        photos=rows,
        photo_profile=photo_profile,
        items=labels[items],
        known=torch.tensor([numbers.setdefault(people[number], len(numbers)) for number in items.tolist()]),
        loss_batches=loss_batches,
    )
