"""Training batches, and the galleries of validation and test, cut from one tensor of features in memory.

Training draws one photo of a profile every epoch; evaluation averages the embeddings of all photos of a profile. No
image is read here: batches carry features or, with encode=online, the rows that the backbone turns into features.

Shape suffixes: P photos, N profiles, C couples, B batch, D feature dim.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from style_match.data.augmentation import Views
from style_match.data.balance import Balance
from style_match.data.galleries import Gallery, Photos, couple_gallery, style_gallery
from style_match.data.people import people_of
from style_match.data.texts import Texts
from style_match.utils.errors import UserError

if TYPE_CHECKING:
    from style_match.backbone.extractor import Row
    from style_match.data.dataset import DatasetFolder
    from style_match.data.splits import Split

SPLITS = ("train", "val", "test")
PHOTOS, VIEWS, TEXTS = 1, 2, 3  # random streams of an epoch
Batch = dict[str, Any]
Features = Tensor | Callable[[], Tensor]


@dataclass(frozen=True)
class TrainSet:
    """Features of the training split, and of nothing else.

    Attributes:
        photos: (P, D), one row a photo.
        left, right: For couples (C, D), row i of both is couple i; a profile with several photos is their mean.
        labels: For styles (P,), the class of each photo's profile.
    """

    photos: Tensor
    left: Tensor | None = None
    right: Tensor | None = None
    labels: Tensor | None = None

    def couples(self) -> tuple[Tensor, Tensor]:
        """Return `left` and `right` in float64.

        Raises:
            UserError: The data has no couples.
        """
        if self.left is None or self.right is None:
            raise UserError("This head is fitted on couples, but the data has none. Use head=mlp, linear or whitened.")
        return self.left.double(), self.right.double()


class MatchDataModule(lightning.LightningDataModule):
    """Batches for `MatchModule`.

    A training batch of n couples is {features (2n, D), labels (2n,), side (2n,)}: left rows, then right rows; `labels`
    is the number of the couple. A batch of n styles is {features (n, D), labels (n,)}; `labels` is the class. With
    encode=online, a list `rows` replaces `features`.

    Args:
        task: "couple" or "style".
        profile_ids: (N,) ids.
        photo_profile: (P,) position in `profile_ids` of each photo's profile.
        people: (N,) the person behind each profile; profiles of one person are never negatives of each other.
        split: "train", "val" and "test" to positions of items: couples, or profiles for styles.
        sampler: Makes the batch sampler from `left_ids, right_ids, known_couples` (couples) or `labels` (styles) and
            `seed, num_replicas, rank`; None where only galleries are needed.
        seed: Of the order and of the photo drawn for each profile.
        max_loss_items: val/loss compares at most so many items with each other, since its memory grows with the square.
        couples: For couples, (left, right) tuples of positions in `profile_ids`, or a tensor (C, 2).
        labels: For styles, (N,) class names.
        classes: Class names by number; by default those of `labels`, sorted.
        balance: Which training items an epoch has, and how often; None for each once.
        views: Augmented views of training photos; None for none.
        features: (P, D) float32, followed by those of the views, or a function that returns them: it is called in
            `prepare_data`, where it computes what a store lacks, and again in `setup`. None for encode=online.
        rows: (P,) what the backbone computes a feature from; required for encode=online.
        texts: Texts of the training photos. A training batch then has `texts` (B, D), features of one text a photo,
            and `text_numbers` and `people` (B,), which text and whose photo it is.
        test_splits: The galleries that `test_dataloader` serves.

    Raises:
        UserError: Features are not finite, a split has fewer than two items, or the sampler is for the other task.
        ValueError: An argument has a wrong length, shape or type, or a position is out of range.
    """

    def __init__(
        self,
        *,
        task: str,
        profile_ids: Sequence[str],
        photo_profile: Sequence[int],
        people: Sequence[Hashable],
        split: Mapping[str, Sequence[int]],
        sampler: Callable[..., Any] | None = None,
        seed: int = 0,
        max_loss_items: int = 4096,
        couples: Sequence[tuple[int, int]] = (),
        labels: Sequence[str] = (),
        classes: Sequence[str] = (),
        balance: Balance | None = None,
        views: Views | None = None,
        features: Features | None = None,
        rows: "Sequence[Row] | None" = None,
        texts: Texts | None = None,
        test_splits: Sequence[str] = ("test", "val"),
    ):
        super().__init__()
        num_profiles = len(profile_ids)
        if task not in ("couple", "style"):
            raise ValueError(f'task must be "couple" or "style", not {task!r}')
        _check_length("people", people, num_profiles, "profile")
        if task == "style" or len(labels):
            _check_length("labels", labels, num_profiles, "profile")
        if rows:
            _check_length("rows", rows, len(photo_profile), "photo")
        if missing := [name for name in SPLITS if name not in split]:
            raise ValueError(f"split must have {', '.join(SPLITS)}; {', '.join(missing)} is missing")
        self.task, self.profile_ids, self.people = task, tuple(profile_ids), tuple(people)
        self.rows, self.texts = rows, texts
        self.make_sampler, self.seed, self.max_loss_items = sampler, seed, max_loss_items
        self.test_splits = tuple(test_splits)
        self.photo_profile = _positions("photo_profile", photo_profile, num_profiles)
        self.photos = Photos(self.photo_profile, num_profiles)
        number_of_person = {person: number for number, person in enumerate(dict.fromkeys(self.people))}
        self.person = torch.tensor([number_of_person[person] for person in self.people], dtype=torch.long)
        self.couples = _couples(couples, num_profiles)
        self.classes = tuple(classes) or tuple(sorted(set(labels)))
        number_of = {label: number for number, label in enumerate(self.classes)}
        if unknown := set(labels) - number_of.keys():
            raise ValueError(f"labels has {min(unknown)!r}, which classes does not have")
        self.labels = torch.tensor([number_of[label] for label in labels], dtype=torch.long)
        num_items = len(self.couples) if task == "couple" else num_profiles
        self.split = {name: _positions(f"split[{name!r}]", items, num_items) for name, items in split.items()}
        for name in ("train", "val"):
            if len(self.split[name]) < 2:
                items = ("couple" if task == "couple" else "profile") + "s" * (len(self.split[name]) != 1)
                raise UserError(
                    f"The {name} split has {len(self.split[name])} {items}; at least 2 are required. "
                    "Add data or change split.fractions."
                )
        self.balance = balance or Balance([""] * len(split["train"]), cap=None, fill=False, seed=seed)
        self.views = views
        # position of each photo's first view in `features`
        self.first_view = torch.full((len(photo_profile),), -1)
        if views is not None:
            self.first_view[list(views.photos)] = len(photo_profile) + torch.arange(len(views.photos)) * views.num
        self._galleries: dict[tuple[str, bool], Gallery] = {}  # each is made once
        self._load_features = features if callable(features) else None
        self.features = None if features is None or callable(features) else self._checked(features)

    @classmethod
    def from_folder(
        cls, folder: "DatasetFolder", split: "Split", *, rows: "Sequence[Row]" = (), **options: Any
    ) -> "MatchDataModule":
        """Make one from a dataset folder and its split.

        Args:
            folder: A validated dataset folder.
            split: Which items are in which split.
            rows: In the order of `folder.photos`, as are `features`.
            **options: Other arguments of the constructor.
        """
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
            split={part: [i for i, name in enumerate(names) if split.name_of.get(name) == part] for part in SPLITS},
            rows=rows,
            **options,
        )

    def prepare_data(self) -> None:
        """Compute the features that the store lacks, once for all processes."""
        if self._load_features is not None:
            self._load_features()

    def setup(self, stage: str | None = None) -> None:
        """Load the features, in every process."""
        if self._load_features is not None and self.features is None:
            self.features = self._checked(self._load_features())

    def _checked(self, features: Any) -> Tensor:
        views, num_photos = self.views, len(self.photo_profile)
        num_rows = num_photos + (views.num * len(views.photos) if views else 0)
        shape = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != num_rows:
            raise ValueError(f"features must be a tensor of shape ({num_rows}, D), not {shape}")
        if not features.is_floating_point():
            raise ValueError(f"features must be floating-point numbers, not {features.dtype}")
        finite = torch.isfinite(features).all(dim=1)
        if not finite.all():
            row = int((~finite).nonzero()[0])
            photo = row if views is None or row < num_photos else views.photo_of(row - num_photos)
            raise UserError(
                f"{int((~finite).sum())} of {len(finite)} photos have features that are not finite numbers, first one "
                f"of profile {self.profile_ids[int(self.photo_profile[photo])]}: use backbone.dtype=fp32."
            )
        return features

    def train_dataloader(self) -> DataLoader:
        """Return the training batches of this process."""
        if self.trainer is None:
            return self.train_batches()
        if self.features is not None:  # a copy to the GPU in every step would wait for it
            self.features = self.features.to(self.trainer.strategy.root_device)
        return self.train_batches(num_replicas=self.trainer.world_size, rank=self.trainer.global_rank)

    def train_batches(self, *, num_replicas: int = 1, rank: int = 0) -> DataLoader:
        """Return the share of process `rank` in the batches that `num_replicas` processes train on together.

        The sampler yields the positions of a whole batch. Lightning sets its epoch.

        Raises:
            UserError: The sampler is for the other task, or cannot make such batches.
        """
        if self.make_sampler is None:
            raise ValueError("training batches need a sampler")
        items = self.split["train"][torch.from_numpy(self.balance.deal(0).items)]  # of the classes of every epoch
        offered: dict[str, Any]
        if self.task == "couple":
            left, right = ([self.people[number] for number in side] for side in self.couples[items].T.tolist())
            offered = {"left_ids": left, "right_ids": right, "known_couples": list(zip(left, right, strict=True))}
        else:
            offered = {"labels": [self.classes[number] for number in self.labels[items].tolist()]}
        try:
            sampler = self.make_sampler(**offered, seed=self.seed, num_replicas=num_replicas, rank=rank)
        except (TypeError, KeyError) as error:  # an argument that it lacks or does not know, also in a class above it
            made = getattr(self.make_sampler, "func", self.make_sampler)
            raise UserError(
                f"The sampler {getattr(made, '__name__', made)} does not accept data with task={self.task}, which "
                f"provides {', '.join(offered)} ({type(error).__name__}: {error}). Use sampler=pair for couples, "
                "sampler=pk for styles."
            ) from error
        return DataLoader(TrainBatches(self, sampler), sampler=sampler, batch_size=None)

    def val_dataloader(self) -> DataLoader:
        """Return the gallery of the validation split, as one batch."""
        return _one_batch(self.gallery_batch(self.gallery("val", with_loss=True)))

    def test_dataloader(self) -> list[DataLoader]:
        """Return the galleries of `test_splits`, one batch each."""
        return [_one_batch({**self.gallery_batch(self.gallery(name)), "split": name}) for name in self.test_splits]

    def gallery(self, name: str, *, with_loss: bool = False) -> Gallery:
        """Return the gallery of a split; `with_loss` adds the batches over which val/loss is computed."""
        if (name, with_loss) not in self._galleries:
            make, partners = (couple_gallery, self.couples) if self.task == "couple" else (style_gallery, self.labels)
            limit = self.max_loss_items if with_loss else None
            about = (self.profile_ids, self.photos, self.people, partners, self.split[name])
            self._galleries[name, with_loss] = make(*about, max_loss_items=limit)
        return self._galleries[name, with_loss]

    def gallery_batch(self, gallery: Gallery) -> Batch:
        """Return what the validation and test steps of `MatchModule` take."""
        return {
            **self.photo_batch(gallery.photos),
            "photo_profile": gallery.photo_profile,
            "num_left": gallery.num_left,
            "items": gallery.items,
            "known": gallery.known,
            "loss_batches": list(gallery.loss_batches),
        }

    def ids_of(self, name: str) -> list[Any]:
        """Return the items of a split by id: (left id, right id) of its couples, or the profile ids of styles."""
        if self.task == "style":
            return [self.profile_ids[item] for item in self.split[name].tolist()]
        couples = self.couples[self.split[name]].tolist()
        return [(self.profile_ids[left], self.profile_ids[right]) for left, right in couples]

    def evaluate(self, evaluator: Any, name: str, embeddings: Tensor, bank: Any = None) -> Any:
        """Score embeddings (N, E) of a split's gallery.

        Args:
            evaluator: An `Evaluator`.
            name: The split.
            embeddings: In the order of `gallery(name).profile_ids`.
            bank: Left and right embeddings of the training split, for CSLS.

        Returns:
            The evaluator's `Result`.
        """
        profile_ids = self.gallery(name).profile_ids
        about: dict[str, Any] = {"people": dict(zip(self.profile_ids, self.people, strict=True)), "split": name}
        if self.task == "style":
            labels = {each: self.classes[self.labels[row]] for row, each in enumerate(self.profile_ids)}
            return evaluator.styles(embeddings, profile_ids, labels, **about)
        known = [(self.profile_ids[left], self.profile_ids[right]) for left, right in self.couples.tolist()]
        return evaluator.couples(embeddings, profile_ids, self.ids_of(name), known=known, bank=bank, **about)

    def photo_batch(self, photos: Tensor) -> Batch:
        """Return {features (B, D)} of these photos (B,), or {rows} for encode=online."""
        if self.features is not None:
            return {"features": self.features[photos]}
        if not self.rows:
            raise ValueError("the data module has no features; call setup() or pass features")
        return {"rows": [self.rows[photo] for photo in photos.tolist()]}

    def view_batch(self, photos: Tensor, numbers: Tensor, epoch: int) -> Batch:
        """Return as `photo_batch` the views (B,) of these numbers; 0 is the photo itself."""
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
        """Return one text for each photo (B,) of `profiles` (B,), drawn by `uniform` (B,); nothing without texts."""
        if self.texts is None:
            return {}
        numbers = self.texts.draw(photos, uniform)
        return {"texts": self.texts.features[numbers], "text_numbers": numbers, "people": self.person[profiles]}

    def train_photos(self) -> Batch:
        """Return all photos of the training profiles, each once."""
        return self.photo_batch(self.gallery("train").photos)

    def train_set(self, features: Tensor) -> TrainSet:
        """Return what a closed form is fitted to, from the features (P, D) of `train_photos`."""
        gallery = self.gallery("train")
        if self.task == "style":
            return TrainSet(photos=features, labels=gallery.items[gallery.photo_profile])
        sums = features.new_zeros(len(gallery.profile_ids), features.shape[1], dtype=torch.float64)
        sums.index_add_(0, gallery.photo_profile, features.double())
        mean = sums / gallery.photo_profile.bincount()[:, None]
        left, right = gallery.items.T
        return TrainSet(photos=features, left=mean[left], right=mean[gallery.num_left + right])

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move features only; labels on the CPU tell the losses what to compare without waiting for the device."""
        moved: Batch = {n: batch[n].to(device, non_blocking=True) for n in ("features", "texts") if n in batch}
        return batch | moved


class TrainBatches(Dataset[Batch]):
    """Training batches, indexed by the positions of their items among those that an epoch deals.

    One photo of each profile, or one of its views, is drawn every epoch. A profile that an epoch deals several times
    shows its next photos, then its next views.
    """

    def __init__(self, data: MatchDataModule, sampler: Sampler[list[int]]):
        self.data, self.sampler = data, sampler
        self._drawn: tuple[int, dict[str, Tensor]] = (-1, {})

    def __len__(self) -> int:
        return len(self.sampler)  # type: ignore[arg-type]

    def __getitem__(self, positions: list[int] | int) -> Batch:
        if isinstance(positions, int):  # Lightning's overfit_batches replaces the sampler by the numbers of batches
            positions = list(self.sampler)[positions]
        data, epoch = self.data, int(getattr(self.sampler, "epoch", 0))
        drawn = self._draws(epoch)
        items, copy = drawn["items"][positions], drawn["copies"][positions]
        if data.task == "couple":
            side = torch.arange(2).repeat_interleave(len(items))
            profiles, copy = data.couples[items].T.flatten(), copy.repeat(2)
            about = {"labels": items.repeat(2), "side": side}
        else:
            profiles, about = items, {"labels": data.labels[items]}
        num_variants = 1 + (data.views.num if data.views is not None else 0)
        photos = data.photos.one_each(profiles, drawn["photo"][profiles], copy)
        views = (drawn["view"][profiles] * num_variants).long() + copy // data.photos.count[profiles]
        about |= data.text_batch(photos, profiles, drawn["text"][profiles])
        return {**data.view_batch(photos, views % num_variants, epoch), **about}

    def _draws(self, epoch: int) -> dict[str, Tensor]:
        """Draw once an epoch: the items dealt, and numbers (N,) in [0, 1) for each profile."""
        if self._drawn[0] != epoch:
            data = self.data
            deal = data.balance.deal(epoch)
            items, copies = torch.from_numpy(deal.items), torch.from_numpy(deal.copies)
            drawn = {"items": data.split["train"][items], "copies": copies}
            for name, stream in (("photo", PHOTOS), ("view", VIEWS), ("text", TEXTS)):
                rng = np.random.default_rng((data.seed, epoch, stream))
                drawn[name] = torch.from_numpy(rng.random(len(data.profile_ids)))
            self._drawn = (epoch, drawn)
        return self._drawn[1]


def _one_batch(batch: Batch) -> DataLoader:
    return DataLoader([batch], batch_size=None)  # type: ignore[arg-type]


def _check_length(name: str, values: Sequence[Any], num: int, of: str) -> None:
    if len(values) != num:
        raise ValueError(f"{name} must have one entry per {of} ({num}), not {len(values)}")


def _couples(couples: Any, num_profiles: int) -> Tensor:
    """Return couples (C, 2) as (left, right) positions of profiles.

    Two sequences `(lefts, rights)` of two entries each would look like two couples, so only tuples are accepted, or a
    tensor or array of that shape.
    """
    if not hasattr(couples, "shape"):
        couples = list(couples)
        given = f"{len(couples)} of {', '.join(sorted({type(each).__name__ for each in couples}))}"
        is_pairs = all(isinstance(each, tuple) and len(each) == 2 for each in couples)
    else:
        given, is_pairs = str(tuple(couples.shape)), couples.ndim == 2 and couples.shape[1] == 2
    if not is_pairs:
        raise ValueError(
            f"couples must be a sequence of (left, right) tuples or a tensor of shape (C, 2), not {given}; write two "
            "sequences as list(zip(lefts, rights))"
        )
    found = _positions("couples", couples, num_profiles).reshape(-1, 2)
    if (same := found[:, 0] == found[:, 1]).any():
        row = int(same.nonzero()[0])
        raise ValueError(f"couples[{row}] is the profile {int(found[row, 0])} with itself")
    return found


def _positions(name: str, values: Any, num: int) -> Tensor:
    """Return `values` as a long tensor of positions below `num`."""
    try:
        found = torch.as_tensor(values if hasattr(values, "shape") else list(values))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} must be integer positions: {error}") from error
    if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise ValueError(f"{name} must be integer positions, not {found.dtype}")
    found = found.long()
    if (wrong := found[(found < 0) | (found >= num)]).numel():
        raise ValueError(f"{name} must be positions from 0 to {num - 1}, not {int(wrong[0])}")
    return found
