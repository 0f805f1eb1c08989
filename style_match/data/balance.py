"""Who is in training how often: undersampling to a cap, small classes filled up, augmented views. Imports no torch."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig

from style_match.data.augmentation import Augmentation, Views

if TYPE_CHECKING:
    from style_match.data.dataset import DatasetFolder
    from style_match.data.splits import Split

FEWEST = 2  # profiles of a class in an epoch: a single one has no positive


@dataclass(frozen=True)
class Deal:
    """Who fills the S slots of an epoch.

    Attributes:
        items: (S,) positions of training items.
        copies: (S,) 0 where an item is dealt for the first time in the epoch, 1 for the second and so on.
    """

    items: NDArray[np.int64]
    copies: NDArray[np.int64]


class Balance:
    """Deals the training items of an epoch so that no class is too large or, with `fill`, too small.

    Every epoch has the same number of slots of each class, so samplers see one list of labels. The items of a class
    form a circle, in an order that the seed decides, and every epoch starts where the one before stopped. Over any
    number of epochs, the appearances of two items of a class differ by at most one.

    Args:
        labels: (N,) class of each training item; couples are all of one.
        cap: most items of a class in an epoch, at least 2; "median": as many as the class in the middle has (of an even
            number of classes the smaller one), but at least 2; None for all.
        fill: small classes have as many slots as the largest one (after the cap).
        seed: same seed and epoch, same items.
    """

    def __init__(self, labels: Sequence[str], *, cap: int | str | None, fill: bool, seed: int):
        self.before = dict(sorted(Counter(labels).items()))
        counts = sorted(self.before.values()) or [0]
        self.cap = max(FEWEST, counts[(len(counts) - 1) // 2]) if isinstance(cap, str) else cap
        self.fill, self.seed = fill, seed
        capped = {label: min(count, self.cap or count) for label, count in self.before.items()}
        self.largest = max(capped.values(), default=0)
        self.after = {label: self.largest if fill else count for label, count in capped.items()}
        self.small = {label for label, count in capped.items() if count < self.largest}
        # where nothing is changed, items keep their places, and with them every batch
        self.is_plain = self.after == self.before
        numbers = np.array([list(self.before).index(label) for label in labels], dtype=np.int64)
        rng = np.random.default_rng((seed, 0, 3))  # others are of an epoch's batches, photos and views
        self._circles = {
            label: rng.permutation(np.flatnonzero(numbers == number)) for number, label in enumerate(self.before)
        }

    def deal(self, epoch: int) -> Deal:
        """Who is in this epoch; slot by slot the classes are those of every other epoch."""
        if self.is_plain:
            num = sum(self.before.values())
            return Deal(np.arange(num), np.zeros(num, dtype=np.int64))
        items, copies = [], []
        for label, num in self.after.items():
            circle, steps = self._circles[label], np.arange(num)
            items.append(circle[(epoch * num + steps) % len(circle)])
            copies.append(steps // len(circle))
        return Deal(np.concatenate(items), np.concatenate(copies))


class Balancing:
    """What `cfg.balance` makes of the training split of a dataset.

    Attributes:
        balance: who is dealt.
        views: whose photos have views; None where nobody's have.
    """

    def __init__(self, cfg: DictConfig, folder: "DatasetFolder", split: "Split", *, seed: int):
        is_style = folder.task == "style"
        names = folder.profile_ids if is_style else [couple.item_id for couple in folder.couples]
        items = [name for name in names if split.name_of.get(name) == "train"]
        labels = [folder.labels[item] if is_style else "" for item in items]
        self.cfg, self.is_style = cfg, is_style
        self.balance = Balance(labels, cap=cfg.cap, fill=cfg.fill, seed=seed)
        wanted = set(self.balance.after) if cfg.augment == "all" else self.balance.small
        self.augmented = {label: cfg.views > 0 and label in wanted for label in self.balance.after}
        chosen = {item for item, label in zip(items, labels, strict=True) if self.augmented[label]}
        if not is_style:
            chosen = {profile_id for item in chosen for profile_id in item.split("\t")}
        photos = tuple(number for number, photo in enumerate(folder.photos) if photo.profile_id in chosen)
        augmentation = Augmentation(**cfg.augmentation)
        self.views = Views(augmentation, cfg.views, photos, cfg.view_seed) if photos else None

    def summary(self) -> dict[str, Any] | None:
        """Return the entry of provenance.json; None without any balancing."""
        if self.cfg.cap is None and not self.cfg.fill and not self.cfg.views:
            return None
        balance, views = self.balance, self.views
        return {
            "cap": balance.cap,
            "fill": balance.fill,
            "views": self.cfg.views,
            "photos_with_views": 0 if views is None else len(views.photos),
            "profiles": balance.before if self.is_style else None,
            "profiles_in_an_epoch": balance.after if self.is_style else None,
            "augmented": sorted(label for label in self.augmented if self.augmented[label]) if self.is_style else None,
        }

    def lines(self) -> Iterator[str]:
        """Return the same in words, with the options that are set but change nothing."""
        cfg, balance, views = self.cfg, self.balance, self.views
        if not balance.is_plain:
            counts = [
                f"{label} {before}" + (f" -> {balance.after[label]}" if balance.after[label] != before else "")
                for label, before in balance.before.items()
            ]
            yield f"balance: training profiles in an epoch: {', '.join(counts)}"
        largest = max(balance.before.values())
        if balance.cap is not None and balance.cap >= largest:
            yield f"balance.cap={cfg.cap}: no class has more than {largest} training profiles, so none is undersampled"
        if cfg.fill and balance.largest == min(balance.before.values()):
            yield "balance.fill=true: no class has fewer profiles than another in an epoch, so none is filled up"
        if views is not None:
            yield f"balance: {views.num} views of each of {len(views.photos)} training photos"
        elif cfg.views:
            yield (
                f"balance.views={cfg.views}: no class has fewer profiles than another in an epoch, so no photo has "
                "views; balance.augment=all is for every training photo"
            )
