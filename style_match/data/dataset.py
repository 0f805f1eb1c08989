"""The dataset folder, demo and real data alike: profiles, couples, metadata, read once and validated as a whole."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from style_match.data.couples import couple_without, read_couples
from style_match.data.fingerprints import Fingerprints, PhotoFacts
from style_match.data.metadata import read_metadata
from style_match.data.people import item_keys, say, say_item
from style_match.data.photos import ImagePaths, check_photos
from style_match.data.profiles import read_classes, read_profiles
from style_match.data.records import MAX_SHOWN, Couple, Faults, Photo, Rejected, nearest, write_rejected
from style_match.utils.errors import UserError
from style_match.utils.files import on_disk
from style_match.utils.graph import across_splits
from style_match.utils.text import plain

__all__ = ["TASKS", "Couple", "DatasetFolder", "Photo", "Rejected", "check_photos", "read_folder", "write_rejected"]

TASKS = ("couple", "style")
PROFILES = "profile"  # a task for those who ask neither for couples nor for classes


@dataclass(frozen=True)
class DatasetFolder:
    """What a folder holds after validation. Items of the task are couples, else profiles.

    Attributes:
        profile_ids: in the order of the table, each once.
        columns: profile id -> the further columns of its first row.
        left_name, right_name: "female" and "male", or "left" and "right".
        labels: styles: profile id -> class.
        listed_classes: of classes.json, where that is there.
        given_splits: item id -> split where the user's `split` column divides the data, else empty.
        metadata: image as written -> its object, without the key `image`.
        rejected: what was left out and why: by the column `left_out`, by a photo at fault.
        photo_sha256: image as written -> hash of the file; filled by `check_photos`.
        photo_facts: image as written -> all facts of the photo; filled by `check_photos`.
        notes: sentences for the user.
    """

    root: Path
    task: str
    profiles_file: Path
    couples_file: Path | None
    photos: tuple[Photo, ...]
    profile_ids: tuple[str, ...]
    columns: dict[str, dict[str, str]]
    couples: tuple[Couple, ...]
    left_name: str
    right_name: str
    label_column: str | None
    labels: dict[str, str]
    given_splits: dict[str, str]
    metadata: dict[str, dict[str, Any]]
    rejected: tuple[Rejected, ...] = ()
    photo_sha256: dict[str, str] = field(default_factory=dict)
    photo_facts: dict[str, PhotoFacts] = field(default_factory=dict)
    listed_classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Styles: every class, at the place that is its number; some may have no profile."""
        return self.listed_classes or tuple(sorted(set(self.labels.values())))

    def photos_of(self, profile_id: str) -> tuple[Photo, ...]:
        return self._photos_of[profile_id]

    def place(self, row: int) -> str:
        """A row of the profiles table for a message: "line 4" of a CSV file, "row 3" of a Parquet file."""
        return f"{'line' if self.profiles_file.suffix == '.csv' else 'row'} {row}"

    def without(self, bad: Mapping[str, str]) -> "DatasetFolder":
        """Leaves out the profiles that `bad` gives a reason for, and their couples; both are added to `rejected`.

        Raises UserError when nothing is left.
        """
        rejected = list(self.rejected)
        for profile_id in self.profile_ids:
            if profile_id in bad:
                row = self.photos_of(profile_id)[0].row
                rejected.append(Rejected("profile", profile_id, self.profiles_file.name, row, bad[profile_id]))
        for couple in self.couples:
            lost = [profile_id for profile_id in (couple.left_id, couple.right_id) if profile_id in bad]
            if lost and self.couples_file is not None:
                rejected.append(couple_without(couple, lost, self.couples_file.name))
        kept = tuple(profile_id for profile_id in self.profile_ids if profile_id not in bad)
        photos = tuple(photo for photo in self.photos if photo.profile_id not in bad)
        couples = tuple(each for each in self.couples if each.left_id not in bad and each.right_id not in bad)
        items = tuple(couple.item_id for couple in couples) if self.task == "couple" else kept
        if not items:
            first = rejected[-1]
            raise UserError(f"{self.root}: nothing is left after leaving out {len(bad)} profiles ({first.reason})")
        images = {photo.image for photo in photos}
        return replace(
            self,
            photos=photos,
            profile_ids=kept,
            columns={profile_id: self.columns[profile_id] for profile_id in kept},
            couples=couples,
            labels={each: label for each, label in self.labels.items() if each not in bad},
            given_splits={item: self.given_splits[item] for item in items} if self.given_splits else {},
            metadata={image: found for image, found in self.metadata.items() if image in images},
            photo_sha256={image: sha256 for image, sha256 in self.photo_sha256.items() if image in images},
            photo_facts={image: facts for image, facts in self.photo_facts.items() if image in images},
            rejected=tuple(rejected),
        )

    def fingerprint(self, fingerprints: Fingerprints) -> str:
        """The data fingerprint: sha256 over photo bytes, tables and metadata as read, in their order.

        Where the folder lies and how its files are written (CSV or Parquet, CRLF) does not change it.
        """
        digest = hashlib.sha256()

        def add(*values: object) -> None:
            digest.update(json.dumps(values, sort_keys=True).encode() + b"\n")

        add(self.task, self.label_column, self.left_name, self.right_name)
        if self.listed_classes:
            add("classes", *self.listed_classes)
        for photo in self.photos:
            sha256 = self.photo_sha256.get(photo.image) or fingerprints.sha256(photo.path)
            add("photo", photo.profile_id, photo.image, sha256, self.metadata.get(photo.image))
        for profile_id in self.profile_ids:
            add("profile", profile_id, self.columns[profile_id])
        for couple in self.couples:
            add("couple", couple.left_id, couple.right_id, couple.split)
        return digest.hexdigest()

    @cached_property
    def _photos_of(self) -> dict[str, tuple[Photo, ...]]:
        found: dict[str, list[Photo]] = {}
        for photo in self.photos:
            found.setdefault(photo.profile_id, []).append(photo)
        return {profile_id: tuple(photos) for profile_id, photos in found.items()}


def read_folder(
    root: str | Path,
    *,
    task: str,
    image_root: str | Path | None = None,
    label_column: str | None = "fashion_style",
    max_faults_shown: int = MAX_SHOWN,
) -> DatasetFolder:
    """Reads profiles, couples (`task="couple"`) or labels (`task="style"`), and metadata of a dataset folder.

    With `task="profile"` (`PROFILES`) the profiles alone, whatever other files and splits are there. Images are
    relative to `image_root`, or to the folder. Files are looked for, not opened: see `check_photos`.

    Raises UserError naming all faults together, each with file, row and column.
    """
    if task not in (*TASKS, PROFILES):
        raise UserError(f"data.task={task} is none of {', '.join(TASKS)}{nearest(task, TASKS)}")
    if task == "style" and not label_column:
        raise UserError("data.label_column is not given; name the column of the profiles table that holds the class")
    label_column = plain(label_column) if label_column else label_column
    root = _existing(root, "data.root")
    base = root if image_root is None else _existing(image_root, "data.image_root")
    faults = Faults(root, max_faults_shown)
    profiles = read_profiles(
        root, ImagePaths(base, (root, base), root), label_column if task == "style" else None, faults
    )
    couples = read_couples(root, profiles, faults) if task == "couple" else None
    classes = read_classes(root, profiles, str(label_column), faults) if task == "style" else ()
    metadata = read_metadata(root, profiles, faults)
    if profiles is None or (task == "couple" and couples is None):
        faults.raise_if_any()
    assert profiles is not None  # what could not be read has left a fault
    if couples is not None:
        given = {couple.item_id: couple.split for couple in couples.couples if couple.split is not None}
    else:
        given = (profiles.splits or {}) if task == "style" else {}
    images = {photo.image for photo in profiles.photos}
    folder = DatasetFolder(
        root=root,
        task=task,
        profiles_file=profiles.table.path,
        couples_file=None if couples is None else couples.table.path,
        photos=profiles.photos,
        profile_ids=tuple(profiles.columns),
        columns=profiles.columns,
        couples=() if couples is None else couples.couples,
        left_name="left" if couples is None else couples.left_name,
        right_name="right" if couples is None else couples.right_name,
        label_column=label_column if task == "style" else None,
        labels=profiles.labels,
        given_splits=given,
        metadata={image: about for image, about in metadata.items() if image in images},
        rejected=profiles.rejected + (() if couples is None else couples.rejected),
        listed_classes=classes,
        notes=() if couples is None else couples.notes,
    )
    if not len(faults) and given:
        check_given_splits(folder, faults)
    faults.raise_if_any()
    return folder


def check_given_splits(folder: DatasetFolder, faults: Faults) -> None:
    """A fault for each person or photo that the user's `split` column puts into two splits."""
    file = (folder.couples_file or folder.profiles_file).name
    for key, one, other in across_splits(item_keys(folder), folder.given_splits):
        sides = [f"{say_item(item)} ({folder.given_splits[item]})" for item in (one, other)]
        what = f"{say(key, folder)} connects {' and '.join(sides)}; put connected people into one split"
        faults.add(what, file=file, column="split")


def _existing(folder: str | Path, option: str) -> Path:
    path = on_disk(Path(folder).expanduser().absolute())
    if not path.is_dir():
        reason = "is a file, not a folder" if path.exists() else "does not exist"
        raise UserError(f"{option}={folder}: {path} {reason}; give the folder that holds profiles.csv")
    return path
