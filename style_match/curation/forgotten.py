"""Records of `style_match.forget`: forgotten.json, and the journal that exists while a person is being removed."""

import hmac
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from style_match.curation.person import Person
from style_match.data.records import FORGOTTEN, JOURNAL
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole
from style_match.utils.text import stored_forms

HASH = "hmac_sha256"
Line = tuple[str, str, int]  # place, unit, count


class Journal:
    """`.forget.json` in the dataset folder, from before the first removal to after the last.

    While it exists, running apps answer nothing (`serving.web.live`) and `prepare` refuses the folder: both would write
    the person back. It holds the hashes of photos that may be deleted already.
    """

    def __init__(self, root: Path):
        self.path = root / JOURNAL

    def read(self) -> tuple[Person, list[Line]] | None:
        """Return the person and the list of an interrupted removal, or None."""
        if not self.path.exists():
            return None
        content = json.loads(self.path.read_text(encoding="utf-8"))
        fields = {name: tuple(values) for name, values in content["person"].items()}
        paths = {name: tuple(map(Path, fields[name])) for name in ("files", "dataset_runs")}
        return Person(**{**fields, **paths}), [(place, unit, count) for place, unit, count in content["lines"]]

    def write(self, person: Person, lines: Sequence[Line]) -> None:
        write_whole(self.path, json.dumps({"person": asdict(person), "lines": lines}, default=str))

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)


def write_forgotten(
    root: Path, profile_ids: Iterable[str], lines: Sequence[Line], *, trained: Sequence[str], not_removed: Sequence[str]
) -> Path:
    """Append to forgotten.json when and where something was removed, who was trained on it, and what was not removed.

    The person is kept as a salted hash of each profile id. `style_match.prepare` recognizes it by the ids of its
    source; a reader of the file would have to try all possible ids.
    """
    path = root / FORGOTTEN
    entry = {
        "when": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "profiles": [hashed(profile_id, secrets.token_bytes(16)) for profile_id in profile_ids],
        "removed": [{"where": place, "what": unit, "count": count} for place, unit, count in lines],
        "trained_on_them": [*trained],
        "not_removed": [*not_removed],
    }
    write_whole(path, json.dumps([*_entries(path), entry], indent=2, ensure_ascii=False) + "\n")
    return path


def forgotten_among(root: Path, profile_ids: Iterable[str]) -> set[str]:
    """Return the ids that were forgotten in this folder; each comparison of two ids takes about 3 microseconds.

    Raises:
        UserError: forgotten.json is damaged.
    """
    path = root / FORGOTTEN
    try:
        hashes = [
            (bytes.fromhex(each["salt"]), bytes.fromhex(each[HASH]))
            for entry in _entries(path)
            for each in entry["profiles"]
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}): restore it from a backup.") from error
    return {
        each
        for each in profile_ids
        if any(_hash(form, salt) == digest for form in stored_forms(each) for salt, digest in hashes)
    }


def hashed(profile_id: str, salt: bytes) -> dict[str, str]:
    """Return the salt and the HMAC-SHA256 of an id with the salt as its key, both in hex."""
    return {"salt": salt.hex(), HASH: _hash(profile_id, salt).hex()}


def _hash(profile_id: str, salt: bytes) -> bytes:
    return hmac.digest(salt, profile_id.encode(), "sha256")


def _entries(path: Path) -> list[Any]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        if not isinstance(entries, list):
            raise ValueError("is not a list")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore it from a backup and run again.") from error
    return entries
