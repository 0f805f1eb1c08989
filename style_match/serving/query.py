"""Who asks for recommendations (a profile, a photo or an embedding), and who may be recommended to whom."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from style_match.cli.words import nearest
from style_match.serving.matcher import SIDE, StyleMatcher, Vectors
from style_match.serving.where import And, Compare, Condition, check, mask, parse
from style_match.utils.errors import UserError
from style_match.utils.files import on_disk
from style_match.utils.text import cut, plain

if TYPE_CHECKING:
    from style_match.serving.matcher import StyleMatcher
    from style_match.serving.matcher_folder import MatcherFolder


NOBODY = -1  # the person of whom nothing is known


@dataclass(frozen=True)
class Asked:
    """One who asks.

    Attributes:
        name: profile id, file, or a word for an embedding.
        embedding: (E,) float32 of unit length.
        person: number of the person, as `Vectors.people`; NOBODY where nothing is known.
        side: 0, 1, or -1 where there are no sides.
        row: of a profile, where it stands in `Vectors`.
        photo: of the query, where there is one.
    """

    name: str
    embedding: np.ndarray
    person: int
    side: int
    row: int | None = None
    photo: str | None = None


def profile(profiles: Vectors, row: int) -> Asked:
    """A profile of the folder as the one who asks."""
    return Asked(
        name=profiles.profile_ids[row],
        embedding=profiles.embeddings[row],
        person=int(profiles.people[row]),
        side=int(profiles.sides[row]),
        row=row,
        photo=profiles.photos[row][0] if profiles.photos[row] else None,
    )


def ask(
    matcher: "StyleMatcher",
    query: Any,
    profiles: Vectors,
    *,
    side: str | None,
    metadata: Mapping[str, Any] | None,
) -> Asked:
    """What `StyleMatcher.recommend` is asked; a text is a profile id where there is such a profile, else a file.

    Raises:
        UserError: profiles of another matcher, no such profile or file, no photo, a side that is missing or wrong,
            metadata that is missing, or a side or metadata that nothing would read.
    """
    refuse_unread(matcher.folder, side, metadata)
    if profiles.matcher != matcher.identity:
        raise UserError(
            f"These profiles were embedded by another matcher ({profiles.matcher[:8]}), not by {matcher.folder.name}: "
            "embed them again."
        )
    if isinstance(query, str):
        if (name := plain(query)) in profiles.row_of:
            query = name
        elif not query.isascii():
            query = str(on_disk(Path(query)))
    if isinstance(query, str) and query in profiles.row_of:
        if metadata is not None:
            raise UserError(f"query={query} is a profile of the folder, whose metadata is known: leave metadata out.")
        return _of_profile(profiles, query, side)
    if isinstance(query, str) and not _is_file(query):
        _refuse_unknown(query, profiles)
    names = matcher.folder.sides
    if names is not None and side not in names:
        what = f"side={side} is not known" if side else "its side is not given"
        raise UserError(
            f"query={_name(query)}: {what}, and the matcher is of couples: write side={names[0]} or side={names[1]}, "
            "whichever the photo shows; the other ones are recommended."
        )
    number = names.index(side) if names is not None and side is not None else -1
    if isinstance(query, np.ndarray):
        vector = np.asarray(query, dtype=np.float32).reshape(-1)
        if vector.shape != (matcher.dim,):
            raise UserError(f"The embedding asked with has {len(vector)} numbers, this matcher's have {matcher.dim}.")
        return Asked("an embedding", vector / np.linalg.norm(vector), NOBODY, number)
    prompt = matcher.folder.about["prompt"]
    if prompt["metadata"] and metadata is None:
        raise UserError(
            f"query={_name(query)}: this matcher reads metadata (prompt={prompt['name']}): write metadata=FILE.json, a "
            "file that holds one JSON object with the attributes of the photo."
        )
    embedding = matcher.encode(query, metadata, side=side)[0]
    file = str(Path(query).expanduser()) if isinstance(query, str | Path) else None
    return Asked(_name(query), embedding, _person(file, profiles), number, photo=file)


def refuse_unread(folder: "MatcherFolder", side: str | None, metadata: Any) -> None:
    """Refuse what a matcher would not look at, whoever asks.

    Raises:
        UserError: a side where there are none, or metadata where the prompt has none.
    """
    if side is not None and folder.sides is None:
        raise UserError(f"side={side}: the matcher {folder.name} is of styles, which have no sides: leave side out.")
    if metadata is not None and not (prompt := folder.about["prompt"])["metadata"]:
        raise UserError(
            f"metadata: the matcher {folder.name} reads none (prompt={prompt['name']}): leave metadata out."
        )


def _is_file(query: str) -> bool:
    """False too for what no file can be called, such as a name that is too long."""
    try:
        return Path(query).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # the last one: ~NAME of no user
        return False


def _of_profile(profiles: Vectors, query: str, side: str | None) -> Asked:
    found = profile(profiles, profiles.row_of[query])
    if profiles.side_names is None:
        return found
    left, right = profiles.side_names
    if found.side < 0:
        raise UserError(
            f"query={query}: nothing tells whether this profile is {left} or {right}: fill in its gender in "
            "profiles.csv, or add its couple."
        )
    if side is not None and side != profiles.side_names[found.side]:
        raise UserError(f"query={query} is {profiles.side_names[found.side]}, not {side}: leave side out.")
    return found


def _person(file: str | None, profiles: Vectors) -> int:
    """The person whose photo in the folder has the same bytes."""
    if file is None:
        return NOBODY
    return profiles.person_of_photo.get(hashlib.sha256(Path(file).read_bytes()).hexdigest(), NOBODY)


def _refuse_unknown(query: str, profiles: Vectors) -> None:
    meant = nearest(plain(query), profiles.profile_ids)
    guess = f" Did you mean {meant}?" if meant else f" The first is {profiles.profile_ids[0]}."
    raise UserError(
        f"query={cut(query)}: there is no such profile among {len(profiles)}, and no such file.{guess} query=all asks "
        "for everybody."
    )


def _name(query: Any) -> str:
    return (
        str(query) if isinstance(query, str | Path) else "the embedding" if isinstance(query, np.ndarray) else "photo"
    )


class Allowed:
    """Never the person who asks, of couples only the other side, and only whom `where` leaves.

    Attributes:
        condition: what `where` says; None for everybody.
        filtered: (N,) bool, whom `where` leaves.

    Raises:
        UserError: `where` cannot be read, or does not fit the columns.
    """

    def __init__(self, profiles: Vectors, where: str | None):
        self.profiles = profiles
        self.condition = parse(where) if where is not None else None
        self.filtered = np.ones(len(profiles), dtype=bool)
        if self.condition is not None:
            names = dict.fromkeys(name for cells in profiles.columns for name in cells)
            check(self.condition, {name: [cells.get(name, "") for cells in profiles.columns] for name in names})
            self.filtered = mask(self.condition, profiles.columns)

    def side(self, asked: Asked) -> np.ndarray:
        """(N,) bool: those whom the one who asks could be paired with at all, the person itself left out."""
        could = self.profiles.people != asked.person
        return could & (self.profiles.sides == 1 - asked.side) if self.profiles.side_names is not None else could

    def rows(self, asked: Asked) -> np.ndarray:
        """(N,) bool: those who may be recommended."""
        return self.side(asked) & self.filtered

    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """(N,) of each profile: how many may be recommended to it, and whether it may be recommended to somebody."""
        gallery = np.zeros(len(self.profiles), dtype=np.int64)
        candidates = np.zeros(len(self.profiles), dtype=bool)
        for row in range(len(self.profiles)):
            may = self.rows(profile(self.profiles, row))
            gallery[row] = may.sum()
            candidates |= may
        return gallery, candidates

    def for_index(self, side: int) -> Condition | None:
        """The condition on the columns of an index for those who ask from one side."""
        names = self.profiles.side_names
        if names is None:
            return self.condition
        other = Compare(SIDE, "==", names[1 - side])
        return other if self.condition is None else And((other, self.condition))

    def themselves(self, asked: Asked) -> list[str]:
        """The profiles of the person who asks."""
        return [self.profiles.profile_ids[row] for row in np.flatnonzero(self.profiles.people == asked.person).tolist()]
