"""Training batches and evaluation galleries, cut from one tensor of features in memory.

Training sees one photo of a profile, drawn anew every epoch; evaluation sees all photos of a profile, whose embeddings
the module averages. Nothing here reads an image: batches carry rows of `features` or, without it (encode=online), what
the module's `encode_fn` computes them from.
"""

import inspect
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from torch import Tensor

from style_match.data.augmentation import Views
from style_match.data.balance import Balance
from style_match.data.people import people_of
from style_match.data.sampler.pair import Matching
from style_match.data.texts import Texts
from style_match.utils.errors import UserError
from style_match.utils.graph import not_strangers

if TYPE_CHECKING:
    from style_match.backbone.extractor import Row
    from style_match.data.dataset import DatasetFolder
    from style_match.data.splits import Split


# Checks of the arguments of `MatchData`: lengths, shapes and positions. A wrong one is a ValueError that names it.


SPLITS = ("train", "val", "test")


def check_lengths(
    task: str, num_profiles: int, *, people: Sequence[Any], labels: Sequence[Any], split: Mapping[str, Any]
) -> None:
    """Check what has one entry per profile, and the names of the splits.

    Raises:
        ValueError: an unknown task, another number of people or labels than profiles, a missing split.
    """
    if task not in ("couple", "style"):
        raise ValueError(f'task must be "couple" or "style", not {task!r}')
    if len(people) != num_profiles:
        raise ValueError(f"people must have one entry per profile ({num_profiles}), not {len(people)}")
    if (task == "style" or len(labels)) and len(labels) != num_profiles:
        raise ValueError(f"labels must have one entry per profile ({num_profiles}), not {len(labels)}")
    if missing := [name for name in SPLITS if name not in split]:
        raise ValueError(f"split must have {', '.join(SPLITS)}; {', '.join(missing)} is missing")


def check_photos(num_photos: int, num_views: int, *, features: Any, rows: Sequence[Any] | None) -> None:
    """Check what has one entry per photo and view.

    Raises:
        ValueError: features that are no float tensor (P + views, D), or rows of another length.
    """
    if features is not None:
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        wanted = num_photos + num_views
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != wanted:
            raise ValueError(f"features must be a tensor of shape ({wanted}, D), not {shape}")
        if not features.is_floating_point():
            raise ValueError(f"features must be floating-point numbers, not {features.dtype}")
    if rows is not None and len(rows) not in (0, num_photos):
        raise ValueError(f"rows must have one entry per photo ({num_photos}), not {len(rows)}")


def pairs(couples: Any, num_profiles: int) -> Tensor:
    """(C, 2) long: the couples, as (left, right) positions of profiles.

    Two sequences `(lefts, rights)` would be read as two couples where each has two entries, so only tuples are taken
    for couples, or a tensor or array that has its shape.

    Raises:
        ValueError: anything else, a position out of range, or a couple of one profile with itself.
    """
    if hasattr(couples, "shape"):
        given = str(tuple(couples.shape))
        is_pairs = len(couples.shape) == 2 and couples.shape[1] == 2
    else:
        couples = list(couples)
        lengths = {len(each) if hasattr(each, "__len__") else None for each in couples}
        inner = f", {lengths.pop()}" if len(lengths) == 1 and None not in lengths else ""
        types = ", ".join(sorted({type(each).__name__ for each in couples}))
        given = f"({len(couples)}{inner or ','}) of {types}"
        is_pairs = all(isinstance(each, tuple) and len(each) == 2 for each in couples)
    if not is_pairs:
        raise ValueError(
            f"couples must be a sequence of (left, right) tuples or a tensor of shape (C, 2), not {given}; two "
            "sequences are written list(zip(lefts, rights))"
        )
    if not len(couples):
        return torch.empty(0, 2, dtype=torch.long)
    found = positions("couples", couples, num_profiles)
    if (same := found[:, 0] == found[:, 1]).any():
        row = int(same.nonzero()[0])
        raise ValueError(f"couples[{row}] is the profile {int(found[row, 0])} with itself")
    return found


def positions(name: str, values: Any, num: int) -> Tensor:
    """`values` as a long tensor of positions below `num`.

    Raises:
        ValueError: values that are no integers, or are out of range.
    """
    try:
        found = torch.as_tensor(values if hasattr(values, "shape") else list(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be integer positions: {error}") from error
    if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise ValueError(f"{name} must be integer positions, not {found.dtype}")
    found = found.long()
    if found.numel() and not 0 <= int(found.min()) <= int(found.max()) < num:
        wrong = int(found.min()) if int(found.min()) < 0 else int(found.max())
        raise ValueError(f"{name} must be positions from 0 to {num - 1}, not {wrong}")
    return found


# What a training epoch and a validation are made of, batch by batch.


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


# Which photos belong to which profile, and the gallery of a split: each profile once, with all its photos.


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
        photo_profile: (P,) profile number of each photo, in any order.
        num_profiles: N; every profile has a photo.
    """

    def __init__(self, photo_profile: Sequence[int] | Tensor, num_profiles: int):
        profile = torch.as_tensor(photo_profile, dtype=torch.long)
        # the photos of profile n are by_profile[start[n] : start[n] + count[n]]
        self.by_profile = profile.argsort(stable=True)
        self.count = profile.bincount(minlength=num_profiles)
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
    left_people, right_people = ([people[number] for number in side] for side in couples[items].T.tolist())
    batches = Matching(left_people, right_people).cover(max_loss_items) if max_loss_items else []
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
            not_strangers(
                [people[number] for number in left.tolist()],
                [people[number] for number in right.tolist()],
                [(people[one], people[other]) for one, other in couples.tolist()],
            )
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
            lack = "no class with two profiles" if int(counts.max()) < 2 else "profiles of one class alone"
            remedy = f"raise trainer.max_loss_items={max_loss_items}" if num_parts > 1 else "add profiles"
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


@dataclass(frozen=True)
class TrainSet:
    """Features of the training split, and of nothing else.

    Attributes:
        photos: (P, D), one row a photo.
        left, right: for couples (C, D), row i of both is couple i; a profile with several photos is their mean.
        labels: for styles (P,) the class of each photo's profile.
    """

    photos: Tensor
    left: Tensor | None = None
    right: Tensor | None = None
    labels: Tensor | None = None

    def couples(self) -> tuple[Tensor, Tensor]:
        """`left` and `right` in float64.

        Raises:
            UserError: the data has no couples.
        """
        if self.left is None or self.right is None:
            raise UserError("This head is fitted on couples, and the data has none: use head=mlp, linear or whitened.")
        return self.left.double(), self.right.double()


Batch = dict[str, Any]


class MatchData(lightning.LightningDataModule):
    """Batches for `Matcher`; shape suffixes: P photos, D feature dim, N profiles, B batch.

    A training batch of n couples is {features (2n, D), labels (2n,), side (2n,)}: left rows, then right rows, `labels`
    the number of the couple; of n styles {features (n, D), labels (n,)}, `labels` the class. With encode=online, a list
    `rows` stands in the place of `features`.

    Args:
        task: "couple" or "style".
        profile_ids: (N,) ids.
        photo_profile: (P,) position in `profile_ids` of each photo's profile.
        people: (N,) the person behind each profile; profiles of one person are never strangers to each other.
        couples: for couples: (left, right) tuples of positions in `profile_ids`, or a tensor (C, 2).
        labels: for styles: (N,) class names.
        classes: by their numbers; those of `labels`, sorted, where none are given.
        split: "train", "val" and "test" to positions of items, which are couples, or profiles for styles.
        sampler: makes the batch sampler from `left_ids, right_ids, known_couples` (couples) or `labels` (styles) and
            `seed, num_replicas, rank`; None for galleries alone.
        balance: who of the training items is in an epoch, how often; None for each once.
        views: which photos have augmented views, and what they are; None for none. They are in training alone.
        seed: of order and photo draws.
        max_loss_items: val/loss compares at most so many items with each other, as its memory grows with the square;
            None for galleries without a loss.
        features: (P, D) float32, then, photo after photo, those of the views; or None for encode=online.
        rows: (P,) what `encode_fn` computes a feature from, needed for encode=online.
        texts: of the training photos; a training batch then has `texts` (B, D), a text's features of each photo, and
            `text_numbers` and `people` (B,), which text and whose photo it is.

    Raises:
        UserError: features that are not finite, a split of fewer than two items, a sampler made for the other task.
        ValueError: an argument of another length, shape or type, or a position out of range.
    """

    def __init__(
        self,
        *,
        task: str,
        profile_ids: Sequence[str],
        photo_profile: Sequence[int],
        people: Sequence[Hashable],
        split: Mapping[str, Sequence[int]],
        sampler: Callable[..., Any] | None,
        seed: int,
        max_loss_items: int | None,
        couples: Sequence[tuple[int, int]] = (),
        labels: Sequence[str] = (),
        classes: Sequence[str] = (),
        balance: Balance | None = None,
        views: Views | None = None,
        features: Tensor | None = None,
        rows: "Sequence[Row] | None" = None,
        texts: Texts | None = None,
    ):
        super().__init__()
        num_profiles, num_photos = len(profile_ids), len(photo_profile)
        check_lengths(task, num_profiles, people=people, labels=labels, split=split)
        check_photos(num_photos, views.num * len(views.photos) if views else 0, features=features, rows=rows)
        self.task, self.profile_ids, self.people = task, tuple(profile_ids), tuple(people)
        self.features, self.rows, self.texts = features, rows, texts
        self.make_sampler, self.seed, self.max_loss_items = sampler, seed, max_loss_items
        self.photos = Photos(positions("photo_profile", photo_profile, num_profiles), num_profiles)
        number_of_person = {person: number for number, person in enumerate(dict.fromkeys(self.people))}
        self.person = torch.tensor([number_of_person[person] for person in self.people], dtype=torch.long)
        self.couples = pairs(couples, num_profiles)
        self.classes = tuple(classes) or tuple(sorted(set(labels)))
        number_of = {label: number for number, label in enumerate(self.classes)}
        if unknown := set(labels) - number_of.keys():
            raise ValueError(f"labels has {min(unknown)!r}, which classes does not have")
        self.labels = torch.tensor([number_of[label] for label in labels], dtype=torch.long)
        num_items = len(self.couples) if task == "couple" else num_profiles
        self.split = {name: positions(f"split[{name!r}]", items, num_items) for name, items in split.items()}
        self.balance = balance or Balance([""] * len(split["train"]), cap=None, fill=False, seed=seed)
        self.views = views
        # position of each photo's first view in `features`
        self.first_view = torch.full((len(photo_profile),), -1)
        if views is not None:
            self.first_view[list(views.photos)] = len(photo_profile) + torch.arange(len(views.photos)) * views.num
        for name in ("train", "val"):
            if len(self.split[name]) < 2:
                raise UserError(
                    f"The {name} split has {len(self.split[name])} of at least 2 "
                    f"{'couples' if task == 'couple' else 'profiles'}: add data or change split.fractions."
                )
        if features is not None and not (finite := torch.isfinite(features).all(dim=1)).all():
            row = int((~finite).nonzero()[0])
            photo = row if views is None or row < len(photo_profile) else views.photo_of(row - len(photo_profile))
            broken = self.profile_ids[photo_profile[photo]]
            raise UserError(
                f"{int((~finite).sum())} of {len(finite)} photos have features that are not finite numbers, first one "
                f"of profile {broken}: use backbone.dtype=fp32."
            )

    @classmethod
    def from_folder(
        cls,
        folder: "DatasetFolder",
        split: "Split",
        *,
        features: Tensor | None,
        rows: "Sequence[Row]",
        **options: Any,
    ) -> "MatchData":
        """From a dataset folder and its split; `features` and `rows` follow `folder.photos`, `options` are as above."""
        position = {profile_id: number for number, profile_id in enumerate(folder.profile_ids)}
        people = people_of(folder)
        is_style = folder.task == "style"
        names = folder.profile_ids if is_style else [couple.item_id for couple in folder.couples]
        return cls(
            task=folder.task,
            profile_ids=folder.profile_ids,
            photo_profile=[position[photo.profile_id] for photo in folder.photos],
            people=[people[profile_id] for profile_id in folder.profile_ids],
            couples=[(position[couple.left_id], position[couple.right_id]) for couple in folder.couples],
            labels=[folder.labels[profile_id] for profile_id in folder.profile_ids] if is_style else (),
            classes=folder.classes,
            split={
                part: [item for item, name in enumerate(names) if split.name_of.get(name) == part]
                for part in ("train", "val", "test")
            },
            features=features,
            rows=rows,
            **options,
        )

    def train_dataloader(self) -> TrainBatches:
        if self.trainer is None:
            return self.train_batches()
        if self.features is not None:  # a copy to the GPU in every step would wait for it
            self.features = self.features.to(self.trainer.strategy.root_device)
        return self.train_batches(num_replicas=self.trainer.world_size, rank=self.trainer.global_rank)

    def train_batches(self, *, num_replicas: int = 1, rank: int = 0) -> TrainBatches:
        """The share of process `rank` in the training batches that `num_replicas` processes train on together.

        Raises:
            UserError: the sampler is made for the other task, or cannot make such batches.
        """
        assert self.make_sampler is not None, "made for galleries alone"
        items = self.split["train"][torch.from_numpy(self.balance.deal(0).items)]  # of the classes of every epoch
        ranks = {"seed": self.seed, "num_replicas": num_replicas, "rank": rank}
        offered: dict[str, Any]
        if self.task == "couple":
            left, right = ([self.people[number] for number in side] for side in self.couples[items].T.tolist())
            offered = {"left_ids": left, "right_ids": right, "known_couples": list(zip(left, right, strict=True))}
        else:
            offered = {"labels": [self.classes[number] for number in self.labels[items].tolist()]}
        try:
            inspect.signature(self.make_sampler).bind(**offered, **ranks)
        except TypeError as error:
            raise UserError(
                f"The sampler does not serve data with task={self.task} ({error}): use sampler=pair for couples, "
                "sampler=pk for styles."
            ) from error
        return TrainBatches(self, self.make_sampler(**offered, **ranks))

    def val_dataloader(self) -> OneBatch:
        """The gallery of the validation split."""
        return OneBatch(self.gallery_batch(self.gallery("val")))

    def gallery(self, name: str) -> Gallery:
        """The gallery of a split ("train", "val" or "test")."""
        about = (self.profile_ids, self.photos, self.people)
        items, limit = self.split[name], self.max_loss_items
        if self.task == "couple":
            return couple_gallery(*about, self.couples, items, max_loss_items=limit)
        return style_gallery(*about, self.labels, items, max_loss_items=limit)

    def gallery_batch(self, gallery: Gallery) -> Batch:
        """What `Matcher.embed_profiles` and `Matcher.validation_step` take."""
        return {
            **self.photo_batch(gallery.photos),
            "photo_profile": gallery.photo_profile,
            "num_left": gallery.num_left,
            "items": gallery.items,
            "known": gallery.known,
            "loss_batches": list(gallery.loss_batches),
        }

    def photo_batch(self, photos: Tensor) -> Batch:
        """{features (B, D)} of these photos (B,), or {rows} for encode=online."""
        if self.features is not None:
            return {"features": self.features[photos]}
        assert self.rows is not None
        return {"rows": [self.rows[photo] for photo in photos.tolist()]}

    def view_batch(self, photos: Tensor, numbers: Tensor, epoch: int) -> Batch:
        """As `photo_batch`, of the views (B,) of these numbers, 0 being the photo as it is."""
        if self.views is None:
            return self.photo_batch(photos)
        numbers = torch.where(self.first_view[photos] < 0, 0, numbers)
        if self.features is not None:
            return {"features": self.features[torch.where(numbers == 0, photos, self.first_view[photos] + numbers - 1)]}
        assert self.rows is not None
        rows = [self.rows[photo] for photo in photos.tolist()]
        fresh = [self.views.fresh(number, seed=self.seed, epoch=epoch) for number in range(1, self.views.num + 1)]
        drawn = zip(rows, numbers.tolist(), strict=True)
        return {"rows": [row.of_view(fresh[number - 1]) if number else row for row, number in drawn]}

    def text_batch(self, photos: Tensor, profiles: Tensor, uniform: Tensor) -> Batch:
        """A text of each of these photos (B,) of `profiles` (B,), drawn by `uniform` (B,); nothing without texts."""
        if self.texts is None:
            return {}
        numbers = self.texts.draw(photos, uniform)
        return {"texts": self.texts.features[numbers], "text_numbers": numbers, "people": self.person[profiles]}

    def train_photos(self) -> Batch:
        """All photos of the training profiles, each once."""
        return self.photo_batch(self.gallery("train").photos)

    def train_set(self, features: Tensor) -> TrainSet:
        """What a closed form is fitted to, from the features (P, D) of `train_photos`, and of no other split."""
        gallery = self.gallery("train")
        if self.task == "style":
            return TrainSet(photos=features, labels=gallery.items[gallery.photo_profile])
        sums = features.new_zeros(len(gallery.profile_ids), features.shape[1], dtype=torch.float64)
        sums.index_add_(0, gallery.photo_profile, features.double())
        mean = sums / gallery.photo_profile.bincount()[:, None]
        left, right = gallery.items.T
        return TrainSet(photos=features, left=mean[left], right=mean[gallery.num_left + right])

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Only features go to the device; on the CPU, labels tell the losses what to compare without waiting for it."""
        moved: Batch = {n: batch[n].to(device, non_blocking=True) for n in ("features", "texts") if n in batch}
        return batch | moved
