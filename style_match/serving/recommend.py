"""Recommendations for one query: who queries, who may be recommended, and the nearest of these."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from style_match.cli.words import nearest as nearest_word
from style_match.serving.index.base import Answers, Index
from style_match.serving.matcher_folder import MatcherFolder
from style_match.serving.profiles import SIDE, UNKNOWN, ProfileEmbeddings
from style_match.serving.where import And, Compare, Condition, mask, parse
from style_match.utils.errors import UserError
from style_match.utils.files import on_disk
from style_match.utils.text import cut, plain

NOBODY = -1  # number of a person who is unknown


@dataclass(frozen=True)
class Query:
    """One profile, photo, embedding or text for which profiles are found.

    `side` is 0 for left, 1 for right, UNKNOWN for a profile of unknown side or without sides, and None if profiles of
    both sides may be found.
    """

    name: str  # profile id, file or text, for messages and pages
    embedding: np.ndarray  # (E,) float32, of unit length
    person: int = NOBODY  # number as in `ProfileEmbeddings.people`
    side: int | None = None
    row: int | None = None  # position of a profile; None for others
    photo: str | None = None  # path of a photo, if there is one

    @classmethod
    def of_profile(cls, profiles: ProfileEmbeddings, row: int) -> "Query":
        """Return the query of a profile of the folder."""
        return cls(
            name=profiles.profile_ids[row],
            embedding=profiles.embeddings[row],
            person=int(profiles.people[row]),
            side=int(profiles.sides[row]),
            row=row,
            photo=profiles.photos[row][0] if profiles.photos[row] else None,
        )


def make_query(
    query: Any,
    profiles: ProfileEmbeddings,
    matcher: MatcherFolder,
    encode: Callable[..., np.ndarray],
    *,
    side: str | None,
    metadata: Mapping[str, Any] | None,
) -> Query:
    """Turn what a user gives into a query. A text is a profile id if there is such a profile, else a file.

    Args:
        query: A profile id, a photo (file or PIL image) or an embedding (E,).
        profiles: The profiles that may be recommended.
        matcher: Folder of the matcher that embedded them.
        encode: `StyleMatcher.encode`.
        side: Side of a photo or embedding, for a matcher of couples.
        metadata: Attributes of a photo, if the prompt has metadata.

    Raises:
        UserError: The profiles are of another matcher, the profile or file does not exist, or side or metadata are
            missing, wrong or not read.
    """
    refuse_unread(matcher, side, metadata)
    if profiles.matcher != matcher.identity:
        raise UserError(
            f"These profiles were embedded by another matcher ({profiles.matcher[:8]}), not by {matcher.name}. Embed "
            "them again."
        )
    if isinstance(query, str):
        if (name := plain(query)) in profiles.row_of:
            if metadata is not None:
                raise UserError(f"query={name} is a profile of the folder, which has its metadata. Drop metadata.")
            return _query_of_profile(profiles, name, side)
        query = str(on_disk(Path(query)))
        if not _is_file(query):
            meant = nearest_word(plain(query), profiles.profile_ids)
            guess = f"Did you mean {meant}?" if meant else f"The first profile is {profiles.profile_ids[0]}."
            raise UserError(
                f"query={cut(query)}: there is no such profile among {len(profiles)}, and no such file. {guess} "
                "query=all recommends to all profiles."
            )
    name = str(query) if isinstance(query, str | Path) else "embedding" if isinstance(query, np.ndarray) else "photo"
    number = _number_of_side(side, matcher, name)
    if isinstance(query, np.ndarray):
        vector, dim = np.asarray(query, dtype=np.float32).reshape(-1), matcher.about["head"]["dim"]
        if vector.shape != (dim,):
            raise UserError(f"The embedding of the query has {len(vector)} numbers, those of this matcher have {dim}.")
        return Query(name, vector / np.linalg.norm(vector), side=number)
    prompt = matcher.about["prompt"]
    if prompt["metadata"] and metadata is None:
        raise UserError(
            f"query={name}: this matcher reads metadata (prompt={prompt['name']}). Set metadata=FILE.json, a file with "
            "one JSON object of the photo's attributes."
        )
    embedding = encode(query, metadata, side=side)[0]
    if not isinstance(query, str | Path):
        return Query(name, embedding, side=number)
    file = Path(query).expanduser()
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return Query(name, embedding, profiles.person_of_photo.get(sha256, NOBODY), number, photo=str(file))


def refuse_unread(matcher: MatcherFolder, side: str | None, metadata: Any) -> None:
    """Refuse options that a matcher does not read.

    Raises:
        UserError: A side for a matcher of styles, or metadata for a prompt without metadata.
    """
    if side is not None and matcher.sides is None:
        raise UserError(f"side={side}: the matcher {matcher.name} is of styles, which have no sides. Drop side.")
    if metadata is not None and not (prompt := matcher.about["prompt"])["metadata"]:
        raise UserError(f"metadata: the matcher {matcher.name} reads none (prompt={prompt['name']}). Drop metadata.")


def _query_of_profile(profiles: ProfileEmbeddings, profile_id: str, side: str | None) -> Query:
    row = profiles.row_of[profile_id]
    if profiles.side_names is not None:
        left, right = profiles.side_names
        if (number := int(profiles.sides[row])) == UNKNOWN:
            raise UserError(
                f"query={profile_id}: it is unknown whether this profile is {left} or {right}. Fill in its gender in "
                "profiles.csv, or add its couple."
            )
        if side is not None and side != (own := profiles.side_names[number]):
            raise UserError(f"query={profile_id} is {own}, not {side}. Drop side.")
    return Query.of_profile(profiles, row)


def _number_of_side(side: str | None, matcher: MatcherFolder, name: str) -> int:
    if matcher.sides is None:
        return UNKNOWN
    left, right = matcher.sides
    if side not in matcher.sides:
        what = f"side={side} is unknown" if side else "side is missing"
        raise UserError(
            f"query={name}: {what}, and the matcher is of couples. Set side={left} or side={right} to the side of the "
            "photo; profiles of the other side are recommended."
        )
    return matcher.sides.index(side)


def _is_file(query: str) -> bool:
    """Also False for texts that cannot be the name of a file, such as one that is too long."""
    try:
        return Path(query).expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # the last one: ~NAME of an unknown user
        return False


class Candidates:
    """The profiles that may be recommended to a query.

    Never the person of the query; for couples only the other side; only profiles that satisfy `where`; with
    `exclude_known` no known partner of the query.

    Attributes:
        condition: The parsed filter.
        filtered: (N,) bool, the profiles that satisfy the filter.

    Raises:
        UserError: The filter cannot be parsed, or does not fit the columns.
    """

    def __init__(self, profiles: ProfileEmbeddings, where: str | None, *, exclude_known: bool = False):
        self.profiles, self.exclude_known = profiles, exclude_known
        self.condition = parse(where) if where is not None else None
        self.filtered = np.ones(len(profiles), dtype=bool)
        if self.condition is not None:
            self.filtered = mask(self.condition, profiles.columns)

    def partners(self, query: Query) -> np.ndarray:
        """(N,) bool, the profiles that could be paired with a query, whatever the filter."""
        possible = self.profiles.people != query.person
        if self.profiles.side_names is not None and query.side is not None:
            possible &= self.profiles.sides == 1 - query.side
        return possible

    def allowed(self, query: Query) -> np.ndarray:
        """(N,) bool, the profiles that may be recommended to a query."""
        allowed = self.partners(query) & self.filtered
        allowed[[self.profiles.row_of[one] for one in self.known(query)]] = False
        return allowed

    def known(self, query: Query) -> list[str]:
        """Return the known partners of a query that are left out; none without `exclude_known`."""
        return list(self.profiles.known(query.person)) if self.exclude_known else []

    def reach(self) -> tuple[np.ndarray, np.ndarray]:
        """Return for each profile (N,) how many may be recommended to it, and whether it may be recommended."""
        num_allowed = np.zeros(len(self.profiles), dtype=np.int64)
        can_be_recommended = np.zeros(len(self.profiles), dtype=bool)
        for row in range(len(self.profiles)):
            allowed = self.allowed(Query.of_profile(self.profiles, row))
            num_allowed[row] = allowed.sum()
            can_be_recommended |= allowed
        return num_allowed, can_be_recommended

    def refuse_too_many(self, query: Query, k: int) -> None:
        """Refuse a k below 1 or above the number of profiles that may be recommended to a query.

        Raises:
            UserError: The message says how many there are.
        """
        if k < 1:
            raise UserError(f"k={k} must be at least 1.")
        num_left, num_all = int(self.allowed(query).sum()), int(self.partners(query).sum())
        if k <= num_left:
            return
        is_filtered = self.condition is not None
        found = f"where leaves {num_left} of {num_all} profiles" if is_filtered else f"there are {num_left} profiles"
        if num_left:
            remedy = f"Set k={num_left} or less" + (", or widen where." if is_filtered else ".")
        else:
            remedy = "Widen where." if num_all and is_filtered else "Add profiles."
        raise UserError(f"query={query.name}, k={k}: {found} to choose from. {remedy}")


def nearest(queries: Sequence[Query], candidates: Candidates, *, k: int, index: Index | None = None) -> list[Answers]:
    """Return the k nearest (profile id, cosine) of each query, best first, or fewer if fewer are allowed.

    Equal scores are ordered by id. Without an index the search is exact, in memory.

    Raises:
        UserError: The index holds profiles of another matcher.
    """
    profiles = candidates.profiles
    index = index if index is not None else profiles.exact_index
    if index.matcher != profiles.matcher:
        raise UserError(
            f"The index was built from profiles of another matcher ({index.matcher[:8]}) than these profiles "
            f"({profiles.matcher[:8]}). Build it from these profiles."
        )
    found: list[Answers] = [[] for _ in queries]
    for side in {query.side for query in queries}:
        if profiles.side_names is not None and side == UNKNOWN:
            continue  # such a profile has no other side
        conditions: list[Condition] = [] if candidates.condition is None else [candidates.condition]
        if profiles.side_names is not None and side is not None:
            conditions.append(Compare(SIDE, "==", profiles.side_names[1 - side]))
        numbers = [number for number, query in enumerate(queries) if query.side == side]
        answers = index.search(
            np.stack([queries[number].embedding for number in numbers]),
            k,
            where=And(tuple(conditions)) if len(conditions) > 1 else conditions[0] if conditions else None,
            exclude=[
                [*_profiles_of(queries[number].person, profiles), *candidates.known(queries[number])]
                for number in numbers
            ],
        )
        for number, answer in zip(numbers, answers, strict=True):
            found[number] = answer
    return found


def _profiles_of(person: int, profiles: ProfileEmbeddings) -> list[str]:
    return [profiles.profile_ids[row] for row in np.flatnonzero(profiles.people == person).tolist()]
