"""Training batches and evaluation galleries, cut from one tensor of features in memory.

Training sees one photo of a profile, drawn anew every epoch; evaluation sees all photos of a profile, whose embeddings
the module averages. Nothing here reads an image: batches carry rows of `features` or, without it (encode=online), what
the module's `encode_fn` computes them from.
"""

import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import lightning
import torch
from torch import Tensor

from style_match.augmentation import Views
from style_match.balance import Balance
from style_match.batches import OneBatch, TrainBatches
from style_match.data.people import people_of
from style_match.data_arguments import check_lengths, check_photos, pairs, positions
from style_match.errors import UserError
from style_match.gallery import Gallery, Photos, TrainSet, couple_gallery, style_gallery
from style_match.text.batch import Texts

if TYPE_CHECKING:
    from style_match.data.folder import DatasetFolder
    from style_match.data.split import Split
    from style_match.features.batching import Row

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
