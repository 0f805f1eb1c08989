"""curation.forgotten."""

import hmac
import json
import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from style_match.data.records import FORGOTTEN, JOURNAL
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole
from style_match.utils.text import stored_forms


@dataclass(frozen=True)
class Person:
    """All that is needed to find somebody again once half of their data is gone; fit for JSON.

    Attributes:
        asked: the ids of the command.
        profile_ids: of all of the person's profiles.
        images: of them, as the profiles table writes them.
        paths: of the photos' files, and `sha256` and `sizes` (bytes) of their contents, but for photos that somebody
            else has too: these stay.
        seen: what the photos are called in a run's seen.txt.
        addresses: of feature rows that tell no owner, under every prompt that is known.
        notes: sentences for the user.
    """

    asked: tuple[str, ...]
    profile_ids: tuple[str, ...]
    images: tuple[str, ...]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    sizes: tuple[int, ...]
    seen: tuple[str, ...]
    addresses: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def stored_ids(self) -> tuple[str, ...]:
        """The ids in every form that something stored may have them."""
        return tuple(sorted({form for each in self.profile_ids for form in stored_forms(each)}))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Person":
        return cls(**{name: tuple(value) for name, value in content.items()})


HASH = "hmac_sha256"


Line = tuple[str, str, int]  # where, what, how many


class Journal:
    """In the dataset folder, written before anything is removed: half of a person's data does not tell who it was."""

    def __init__(self, root: Path):
        self.path = root / JOURNAL

    def read(self) -> tuple[Person, list[Line]] | None:
        """Whom a command that was killed was forgetting and the list of what it began to remove.

        Raises:
            UserError: it is damaged.
        """
        if not self.path.exists():
            return None
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return Person.from_json(content["person"]), [
                (where, what, count) for where, what, count in content["lines"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.path} cannot be read ({error}): delete it and give the command again.") from error

    def write(self, person: Person, lines: Sequence[Line]) -> None:
        write_whole(self.path, json.dumps({"person": asdict(person), "lines": lines}, ensure_ascii=False))

    def close(self) -> None:
        self.path.unlink(missing_ok=True)


def write_forgotten(
    root: Path, person: Person, lines: Sequence[Line], *, trained: Sequence[str], left: Sequence[str]
) -> Path:
    """Adds an entry to forgotten.json: when, what was removed where, who was trained on it, what was not removed.

    Of the person it keeps a salted hash of each profile id: who knows an id, as `style_match.prepare` does when a
    source brings it back, can see that it was forgotten. It hides the id from a reader, not from somebody who tries all
    ids that there may be, for which no hash would be slow enough.
    """
    path = root / FORGOTTEN
    entries = _entries(path)
    entries.append(
        {
            "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "profiles": [hashed(profile_id, secrets.token_bytes(16)) for profile_id in person.profile_ids],
            "removed": [{"where": where, "what": what, "count": count} for where, what, count in lines],
            "trained_on_them": [*trained],
            "not_removed": [*left],
        }
    )
    write_whole(path, json.dumps(entries, indent=2, ensure_ascii=False) + "\n")
    return path


def forgotten_among(root: Path, profile_ids: Iterable[str]) -> set[str]:
    """Those of the ids whose profiles were forgotten in this folder; about 3 microseconds for each pair to compare.

    Raises:
        UserError: forgotten.json is damaged.
    """
    path = root / FORGOTTEN
    try:
        known = [
            (bytes.fromhex(each["salt"]), bytes.fromhex(each[HASH]))
            for entry in _entries(path)
            for each in entry["profiles"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}): restore it.") from error
    return {
        each
        for each in profile_ids
        if any(_hash(form, salt) == digest for form in stored_forms(each) for salt, digest in known)
    }


def hashed(profile_id: str, salt: bytes) -> dict[str, str]:
    """HMAC-SHA256 of an id, with the salt as its key; with the same salt, of the same id the same one."""
    return {"salt": salt.hex(), HASH: _hash(profile_id, salt).hex()}


def _hash(profile_id: str, salt: bytes) -> bytes:
    return hmac.digest(salt, profile_id.encode(), "sha256")


def _entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        if not isinstance(entries, list):
            raise ValueError("is not a list")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it, and give the command again.") from error
    return entries
