"""What is written down: a journal while somebody is being forgotten, and afterwards that it was done."""

import hashlib
import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from style_match.errors import UserError
from style_match.files import write_whole
from style_match.forgetting.person import Person

JOURNAL, FORGOTTEN = ".forget.json", "forgotten.json"
_COST = {"n": 2**14, "r": 8, "p": 1}  # of scrypt: about 50 ms for each id that somebody tries
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

    Of the person it keeps a salted, slow hash of each profile id: who knows the id can see that it was forgotten,
    nobody else can tell whose entry it is.
    """
    path = root / FORGOTTEN
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        if not isinstance(entries, list):
            raise ValueError("is not a list")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): move it away, and give the command again.") from error
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


def hashed(profile_id: str, salt: bytes) -> dict[str, str]:
    """A hash of an id that cannot be looked up; with the same salt, of the same id the same one."""
    digest = hashlib.scrypt(profile_id.encode(), salt=salt, dklen=32, **_COST)
    return {"salt": salt.hex(), "scrypt": digest.hex()}
