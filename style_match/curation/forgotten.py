"""forgotten.json: what was removed when and where, and hashes of ids by which `prepare` recognizes the forgotten."""

import hmac
import json
import secrets
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from style_match.data.records import FORGOTTEN
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole
from style_match.utils.text import stored_forms

HASH = "hmac_sha256"
Line = tuple[str, str, int]  # place, unit, count


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
    known = [profile for entry in _entries(root / FORGOTTEN) for profile in entry["profiles"]]
    hashes = [(bytes.fromhex(each["salt"]), each[HASH]) for each in known]
    return {
        each
        for each in profile_ids
        if any(hashed(form, salt)[HASH] == digest for form in stored_forms(each) for salt, digest in hashes)
    }


def hashed(profile_id: str, salt: bytes) -> dict[str, str]:
    """Return the salt and the HMAC-SHA256 of an id with the salt as its key, both in hex."""
    return {"salt": salt.hex(), HASH: hmac.digest(salt, profile_id.encode(), "sha256").hex()}


def _entries(path: Path) -> list[dict[str, Any]]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
        if not isinstance(entries, list):
            raise ValueError("not a list")
        for profile in [each for entry in entries for each in entry["profiles"]]:
            bytes.fromhex(profile["salt"] + profile[HASH])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}): restore it from a backup and run again.") from error
    return entries
