"""The profiles of a dataset folder as a matcher sees them: embeddings, sides of couples, people."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf

from style_match.data.dataset import DatasetFolder
from style_match.data.profiles import gender_of
from style_match.serving.index.exact import Exact
from style_match.serving.matcher_folder import MatcherFolder
from style_match.synthetic.dataset import draw_demo
from style_match.utils.errors import UserError

SIDE = "side of couple"  # column of `ProfileEmbeddings.rows`
UNKNOWN = -1  # side of a profile


@dataclass(frozen=True)
class ProfileEmbeddings:
    """The profiles of a dataset folder with their embeddings, from `StyleMatcher.embed_folder`.

    Attributes:
        profile_ids: (N,) different ids, in the order of the table.
        embeddings: (N, E) float32, of unit length.
        columns: (N,) column -> cell, the further columns of each profile.
        people: (N,) number of the person of each profile; profiles of one person are never recommended to each other.
        sides: (N,) 0 for left, 1 for right, -1 if unknown; all are -1 for a matcher of styles.
        matcher: Identity of the matcher.
        photos: (N,) paths of each profile's photos.
        person_of_photo: SHA-256 (hex) of a photo's file -> number of the person; empty if the matcher reads no photos.
        side_names: Names of left and right, such as ("female", "male"); None for a matcher of styles.
        couples: Both profile ids of each known couple -> a note on it, such as "couple in train".
    """

    profile_ids: tuple[str, ...]
    embeddings: np.ndarray
    columns: tuple[dict[str, str], ...]
    people: np.ndarray
    sides: np.ndarray
    matcher: str
    photos: tuple[tuple[str, ...], ...]
    person_of_photo: dict[str, int]
    side_names: tuple[str, str] | None
    couples: dict[frozenset[str], str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.profile_ids)

    def __repr__(self) -> str:
        kind = "styles" if self.side_names is None else " and ".join(self.side_names)
        return f"ProfileEmbeddings({len(self):,} profiles, {self.embeddings.shape[1]} dimensions, {kind})"

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Profile id -> its position."""
        return {profile_id: row for row, profile_id in enumerate(self.profile_ids)}

    def known(self, person: int) -> dict[str, str]:
        """Return the known partners of a person: profile id -> note on the couple."""
        return self._known.get(person, {})

    @cached_property
    def _known(self) -> dict[int, dict[str, str]]:
        known: dict[int, dict[str, str]] = {}
        for couple, note in self.couples.items():
            for one in couple & self.row_of.keys():
                partners = {other: note for other in couple - {one} if other in self.row_of}
                known.setdefault(int(self.people[self.row_of[one]]), {}).update(partners)
        return known

    @cached_property
    def rows(self) -> tuple[dict[str, str], ...]:
        """(N,) column -> cell that an index stores for filters: the columns and, for couples, the side."""
        if self.side_names is None:
            return self.columns
        names = {0: self.side_names[0], 1: self.side_names[1]}
        sides = [names.get(side, "") for side in self.sides.tolist()]
        return tuple({**cells, SIDE: side} for cells, side in zip(self.columns, sides, strict=True))

    @cached_property
    def exact_index(self) -> Exact:
        """An exact index of these profiles, in memory."""
        index = Exact()
        index.build(self.profile_ids, self.embeddings, self.rows, self.matcher)
        return index


def dataset_root(folder: MatcherFolder, root: str | Path | None, *, show: bool, num_workers: int = 0) -> Path:
    """Return a dataset folder; None means the synthetic one that the matcher was trained on, drawn if it is missing.

    A script without a main guard needs num_workers=0, which draws in its own process.

    Raises:
        UserError: `root` is None and the matcher was trained on photos.
    """
    if root is not None:
        return Path(root).expanduser()
    if (demo := folder.about["data"]["demo"]) is None:
        raise UserError(f"{folder.path} was trained on photos and does not know their folder. Set data.root=FOLDER.")
    return draw_demo(OmegaConf.create({**demo, "num_workers": num_workers}), show=show)


def couples_of(dataset: DatasetFolder, matcher: MatcherFolder) -> dict[frozenset[str], str]:
    """Return the couples of a dataset folder with a note on each.

    A couple is "in training" if no table says its split and both were in the train or val split of the matcher's run.
    """
    trained = matcher.trained_photos

    def is_trained(profile_id: str) -> bool:
        return any(dataset.photo_sha256.get(photo.image) in trained for photo in dataset.photos_of(profile_id))

    notes = {}
    for couple in dataset.couples:
        both = (couple.left_id, couple.right_id)
        split = couple.split or ("training" if trained and all(map(is_trained, both)) else None)
        notes[frozenset(both)] = f"couple in {split}" if split else "couple"
    return notes


def sides_of(dataset: DatasetFolder, matcher: MatcherFolder) -> np.ndarray:
    """Return the side of each profile, from the couples, else from the column `gender`.

    Returns:
        (N,) 0 for left, 1 for right, UNKNOWN otherwise; all are UNKNOWN for a matcher of styles.

    Raises:
        UserError: The couples have other sides than the matcher, or its head needs a side that is unknown.
    """
    found = np.full(len(dataset.profile_ids), UNKNOWN)
    if matcher.sides is None:
        return found
    left, right = matcher.sides
    if dataset.couples and (dataset.left_name, dataset.right_name) != (left, right):
        raise UserError(
            f"{dataset.couples_file} has the sides {dataset.left_name} and {dataset.right_name}, but the matcher was "
            f"trained on {left} and {right}. Name the columns {left}_id and {right}_id."
        )
    side_of = {couple.left_id: 0 for couple in dataset.couples} | {couple.right_id: 1 for couple in dataset.couples}
    for row, profile_id in enumerate(dataset.profile_ids):
        gender = gender_of(dataset.columns[profile_id].get("gender", ""))
        if profile_id in side_of:
            found[row] = side_of[profile_id]
        elif gender in matcher.sides:
            found[row] = matcher.sides.index(gender)
    if matcher.tells_sides and (unknown := np.flatnonzero(found == UNKNOWN)).size:
        names = ", ".join(dataset.profile_ids[row] for row in unknown[:5].tolist())
        raise UserError(
            f"{dataset.profiles_file}: the side of {len(unknown)} profiles is unknown ({names}), but the head of "
            f"{matcher.path} needs it. Fill in the column gender, or add couples with {left}_id and {right}_id."
        )
    return found
