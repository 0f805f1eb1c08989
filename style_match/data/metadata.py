"""metadata.jsonl: one JSON object a photo, from the labeler or by hand."""

import hashlib
import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from style_match.data.faults import Faults
from style_match.data.profiles import Profiles
from style_match.data.table import read_text

FILE_NAME = "metadata.jsonl"


def read_metadata(root: Path, profiles: Profiles | None, faults: Faults) -> dict[str, dict[str, Any]]:
    """Image as written in the profiles table to its object without the key `image`; {} where there is no file."""
    return {name: found for name, (_, found) in read_lines(root, profiles, faults).items()}


def read_lines(root: Path, profiles: Profiles | None, faults: Faults) -> dict[str, tuple[int, dict[str, Any]]]:
    """As `read_metadata`, each object with the number of its line, from 1."""
    path = root / FILE_NAME
    if not os.path.lexists(path):
        return {}
    text = read_text(path, faults)
    if text is None:
        return {}
    written: dict[PurePosixPath, set[str]] = {}
    if profiles is not None:
        position = profiles.table.header.index("image")
        for _, cells in profiles.table.rows:
            written.setdefault(PurePosixPath(cells[position]), set()).add(cells[position])
    metadata: dict[str, tuple[int, dict[str, Any]]] = {}
    line_of: dict[PurePosixPath, int] = {}
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        found = parse_line(content)
        if isinstance(found, str):
            faults.add(f"{found}; write one JSON object a line", file=FILE_NAME, place=f"line {line}")
            continue
        image = PurePosixPath(found.pop("image"))
        earlier = line_of.setdefault(image, line)
        if earlier != line:
            what = f"image {str(image)!r} has metadata already in line {earlier}; remove one"
            faults.add(what, file=FILE_NAME, place=f"line {line}")
        elif profiles is not None and image not in written:
            what = f"no photo {str(image)!r} in {profiles.table.path.name}; correct the name or remove the line"
            faults.add(what, file=FILE_NAME, place=f"line {line}")
        for name in written.get(image, ()):
            metadata[name] = (line, found)
    return metadata


def metadata_name(profile_id: str, metadata: dict[str, Any] | None) -> str:
    """What names a photo of which only the metadata was read: sha256 (hex) over profile id and metadata."""
    return hashlib.sha256(json.dumps([profile_id, metadata], sort_keys=True).encode()).hexdigest()


def parse_line(content: str) -> dict[str, Any] | str:
    """The object, or what is wrong with the line."""
    try:
        found = json.loads(content, object_pairs_hook=_without_twins, parse_constant=_refuse)
    except RecursionError:
        return "is nested too deeply"
    except ValueError as error:
        return f"is broken JSON ({error})"
    if not isinstance(found, dict):
        return "is not a JSON object"
    if not isinstance(found.get("image"), str) or not found["image"].strip():
        return 'has no "image": "FILE"'
    return found


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON; use null")
