"""The dataset folder, of the demo or of real data: profiles, couples and metadata, read and validated together."""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import astuple, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from style_match.data.fingerprints import Fingerprints, PhotoFacts
from style_match.data.image_paths import ImagePaths
from style_match.data.metadata import read_metadata
from style_match.data.profiles import couple_without, read_classes, read_couples, read_profiles
from style_match.data.records import MAX_SHOWN, Couple, Faults, Photo, Rejected, nearest
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, on_disk, write_whole
from style_match.utils.text import plain

V = TypeVar("V")

TASKS = ("couple", "style")
PROFILES = "profile"  # the task that needs neither couples nor classes


@dataclass(frozen=True)
class DatasetFolder:
    """A validated dataset folder. Its items are couples (`task="couple"`) or profiles.

    Attributes:
        profile_ids: in the order of the table, each once.
        columns: profile id -> the further columns of its first row.
        left_name, right_name: "female" and "male", or "left" and "right".
        labels: profile id -> class, for styles.
        listed_classes: of classes.json, if it exists.
        given_splits: item id -> split if the user's `split` column divides the data, else empty.
        metadata: image as written -> its object, without the key `image`.
        rejected: what was left out and why: by the column `left_out` or because of a bad photo.
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
        """Styles: every class, at the position that is its number; some may have no profile."""
        return self.listed_classes or tuple(sorted(set(self.labels.values())))

    def photos_of(self, profile_id: str) -> tuple[Photo, ...]:
        return self._photos_of[profile_id]

    def place(self, row: int) -> str:
        """A row of the profiles table for a message: "line 4" of a CSV file, "row 3" of a Parquet file."""
        return f"{'line' if self.profiles_file.suffix == '.csv' else 'row'} {row}"

    def without(self, bad: Mapping[str, str]) -> "DatasetFolder":
        """Leave out the profiles in `bad` (profile id -> reason) and their couples; both are added to `rejected`.

        Raises UserError when nothing is left.
        """
        rejected, file = list(self.rejected), self.profiles_file.name
        for profile_id in self.profile_ids:
            if profile_id in bad:
                row = self.photos_of(profile_id)[0].row
                rejected.append(Rejected("profile", profile_id, file, row, bad[profile_id]))
        couples = []
        for couple in self.couples:
            lost = [profile_id for profile_id in (couple.left_id, couple.right_id) if profile_id in bad]
            if not lost:
                couples.append(couple)
            elif self.couples_file is not None:
                rejected.append(couple_without(couple, lost, self.couples_file.name))
        profile_ids = tuple(profile_id for profile_id in self.profile_ids if profile_id not in bad)
        photos = tuple(photo for photo in self.photos if photo.profile_id not in bad)
        items = {couple.item_id for couple in couples} if self.task == "couple" else {*profile_ids}
        if not items:
            reason = rejected[-1].reason
            raise UserError(f"{self.root}: nothing is left after leaving out {len(bad)} profiles ({reason})")
        images = {photo.image for photo in photos}
        return replace(
            self,
            photos=photos,
            profile_ids=profile_ids,
            columns=_only(self.columns, profile_ids),
            couples=tuple(couples),
            labels=_only(self.labels, profile_ids),
            given_splits=_only(self.given_splits, items),
            metadata=_only(self.metadata, images),
            photo_sha256=_only(self.photo_sha256, images),
            photo_facts=_only(self.photo_facts, images),
            rejected=tuple(rejected),
        )

    def fingerprint(self, fingerprints: Fingerprints) -> str:
        """The data fingerprint: sha256 of photo bytes, tables and metadata as read, in their order.

        The location of the folder and the file formats (CSV or Parquet, CRLF) do not change it.
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
        for profile_id, cells in self.columns.items():
            add("profile", profile_id, cells)
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
    """Read profiles, couples (`task="couple"`) or labels (`task="style"`), and metadata of a dataset folder.

    `task="profile"` (`PROFILES`) reads the profiles only, whatever other files and splits exist. Images are relative to
    `image_root`, or to the folder. Image files are located, not opened: see `check_photos`.

    Raises:
        UserError: all faults together, each with file, row and column.
    """
    if task not in (*TASKS, PROFILES):
        raise UserError(f"data.task={task} is none of {', '.join(TASKS)}{nearest(task, TASKS)}")
    if task == "style" and not label_column:
        raise UserError("data.label_column is not set; set it to the column of the profiles table that holds the class")
    label_column = plain(label_column) if task == "style" and label_column else None
    root = _existing(root, "data.root")
    base = root if image_root is None else _existing(image_root, "data.image_root")
    faults = Faults(root, max_faults_shown)
    profiles = read_profiles(root, ImagePaths(base, (root, base), root), label_column, faults)
    couples = read_couples(root, profiles, faults) if task == "couple" else None
    classes = read_classes(root, profiles, label_column, faults) if label_column else ()
    metadata = read_metadata(root, profiles, faults)
    faults.raise_if_any()
    assert profiles is not None  # otherwise there was a fault
    if couples is not None:
        given = {couple.item_id: couple.split for couple in couples.couples if couple.split is not None}
    else:
        given = (profiles.splits or {}) if task == "style" else {}
    return DatasetFolder(
        root=root,
        task=task,
        profiles_file=profiles.table.path,
        couples_file=couples.table.path if couples else None,
        photos=profiles.photos,
        profile_ids=tuple(profiles.columns),
        columns=profiles.columns,
        couples=couples.couples if couples else (),
        left_name=couples.left_name if couples else "left",
        right_name=couples.right_name if couples else "right",
        label_column=label_column,
        labels=profiles.labels,
        given_splits=given,
        metadata=_only(metadata, {photo.image for photo in profiles.photos}),
        rejected=profiles.rejected + (couples.rejected if couples else ()),
        listed_classes=classes,
        notes=couples.notes if couples else (),
    )


def write_rejected(folder: DatasetFolder, path: Path, *, more: tuple[Rejected, ...] = ()) -> int:
    """Write rejected.csv: `folder.rejected` and `more` (of a split). Return the number of rows.

    The file is written even if nothing was rejected, so that an older one does not stay.
    """
    rejected = (*folder.rejected, *more)
    write_whole(path, as_csv([each.name for each in fields(Rejected)], map(astuple, rejected)))
    return len(rejected)


def _only(values: Mapping[str, V], keys: Collection[str]) -> dict[str, V]:
    kept = set(keys)
    return {key: value for key, value in values.items() if key in kept}


def _existing(folder: str | Path, option: str) -> Path:
    path = on_disk(Path(folder).expanduser().absolute())
    if not path.is_dir():
        reason = "is a file, not a folder" if path.exists() else "does not exist"
        raise UserError(f"{option}={folder}: {path} {reason}; give the folder that holds profiles.csv")
    return path
