"""metadata.jsonl: one JSON object per photo, from the labeler, by hand, or of an image folder of Hugging Face."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from style_match.data.profiles import Profiles
from style_match.data.records import Faults, nearest
from style_match.data.tables import csv_layout, read_table, read_text
from style_match.utils.text import cut, plain, plain_keys_and_values, shown

FILE_NAME, TABLE_NAME = "metadata.jsonl", "metadata.csv"
IMAGE_KEYS = ("image", "file_name")  # of the photo; the second is for image folders of Hugging Face
_REMEDY = "write one JSON object per line"


def read_metadata(root: Path, profiles: Profiles | None, faults: Faults) -> dict[str, dict[str, Any]]:
    """Image as written in the profiles table -> its object without the key `image`; {} without a file."""
    return {name: found for name, (_, found) in read_lines(root, profiles, faults).items()}


def read_lines(
    root: Path, profiles: Profiles | None, faults: Faults, *, keys: Sequence[str] = IMAGE_KEYS, name: str = FILE_NAME
) -> dict[str, tuple[int, dict[str, Any]]]:
    """`read_metadata`, each object with its line number, from 1.

    Args:
        keys: that may name the photo; the first that exists counts.
        name: of the file: metadata.jsonl, or metadata.csv, where a row is an object of its filled cells.
    """
    spellings: dict[PurePosixPath, set[str]] = {}
    for _, record in profiles.table.records() if profiles else ():
        spellings.setdefault(PurePosixPath(record["image"]), set()).add(record["image"])
    metadata: dict[str, tuple[int, dict[str, Any]]] = {}
    line_of: dict[PurePosixPath, int] = {}
    for line, found in _objects(root / name, keys, faults):
        image, at = PurePosixPath(found.pop("image")), {"file": name, "place": f"line {line}"}
        earlier = line_of.setdefault(image, line)
        if earlier != line:
            faults.add(f"image {shown(str(image))} already has metadata in line {earlier}; remove one", **at)
        elif profiles is not None and image not in spellings:
            table = profiles.table.path.name
            faults.add(f"no photo {shown(str(image))} in {table}; correct the name or remove the line", **at)
        for each in spellings.get(image, ()):
            metadata[each] = (line, found)
    return metadata


def names_photos(path: Path, keys: Sequence[str]) -> bool:
    """Whether a CSV file has one of the keys in its header: a metadata.csv may be about something else."""
    if not path.is_file():  # reading a pipe would wait for ever
        return False
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            head = file.readline() + file.readline()
    except OSError:
        return False
    separator, above = csv_layout(head, keys)
    header = head.splitlines()[above:][:1]
    return any(plain(cell.strip('" ')) in keys for line in header for cell in line.split(separator))


def _objects(path: Path, keys: Sequence[str], faults: Faults) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line, object with the key `image`) of each valid line."""
    if not os.path.lexists(path):
        return
    if path.suffix == ".csv":
        table = read_table(path.parent, path.stem, tuple((key,) for key in keys), faults)
        for line, record in table.records() if table else ():
            if image := record.pop(next(key for key in keys if key in record)):
                yield line, {**{key: cell for key, cell in record.items() if cell}, "image": image}
            else:
                faults.add("names no photo; fill in the cell or remove the row", file=path.name, place=f"line {line}")
        return
    for line, content in enumerate((read_text(path, faults) or "").split("\n"), start=1):
        if content.strip():
            found = parse_line(content, keys)
            if isinstance(found, str):
                faults.add(found, file=path.name, place=f"line {line}")
            else:
                yield line, found


def metadata_name(profile_id: str, metadata: dict[str, Any] | None) -> str:
    """Identity of a photo of which only the metadata is used: sha256 (hex) of profile id and metadata."""
    return hashlib.sha256(json.dumps([profile_id, metadata], sort_keys=True).encode()).hexdigest()


def parse_line(content: str, keys: Sequence[str] = IMAGE_KEYS) -> dict[str, Any] | str:
    """The object, every text `plain` and the photo under `image`; or a text that says what is wrong with the line."""
    try:
        found = json.loads(content, object_pairs_hook=_unique_keys, parse_constant=_refuse)
    except RecursionError:
        return f"is nested too deeply; {_REMEDY}"
    except ValueError as error:
        return f"is broken JSON ({cut(str(error))}); {_REMEDY}"
    if not isinstance(found, dict):
        return f"is not a JSON object; {_REMEDY}"
    key = next((each for each in keys if each in found), "image")
    if not isinstance(found.get(key), str) or not found[key]:
        there = cut(", ".join(found))
        return f'has no "{key}": "FILE"{nearest(key, found)}, which names the photo; its keys are {there or "none"}'
    found["image"] = found.pop(key)
    return found


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    pairs = [(plain(key), plain_keys_and_values(value)) for key, value in pairs]
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON; use null")
