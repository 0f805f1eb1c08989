"""The files of the prepared dataset folder, beside its photos."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from style_match.csvs import as_csv
from style_match.data import classes
from style_match.data.couples import read_couples
from style_match.data.faults import Faults
from style_match.data.profiles import Profiles
from style_match.data.table import Table, read_table
from style_match.errors import UserError
from style_match.preparation.leaving import Verdicts
from style_match.preparation.out import as_json
from style_match.preparation.source import OWN_COLUMNS, Source, to_split


def profiles_csv(source: Source, images: Sequence[str], verdicts: Verdicts) -> str:
    """Every photo of the source, those left out with their reason."""
    group, left_out = OWN_COLUMNS
    further = [name for name in source.header if name not in OWN_COLUMNS]
    rows = (
        (
            photo.profile_id,
            image,
            *(photo.columns.get(name, "") for name in further),
            verdicts.groups.get(photo.profile_id, ""),
            " ".join(reason.split()),
        )
        for photo, image, reason in zip(source.photos, images, verdicts.reasons, strict=True)
    )
    return as_csv(("profile_id", "image", *further, group, left_out), rows)


def metadata_jsonl(images: Sequence[str], metadata: Sequence[dict[str, Any] | None]) -> str:
    lines = [
        json.dumps({"image": image, **said}, ensure_ascii=False) + "\n"
        for image, said in zip(images, metadata, strict=True)
        if said is not None
    ]
    return "".join(lines)


def classes_json(path: Path, label: str, names: Sequence[str], max_shown: int) -> tuple[str, list[str]]:
    """(text, classes): those of the file where it is there, then the new ones; a number once given stays.

    Raises:
        UserError: the file that is there is broken, or of another column.
    """
    known: list[str] = []
    if path.exists():
        faults = Faults(path.parent, max_shown)
        known = list(classes.read_classes(path.parent, None, label, faults))
        if not known and not len(faults):
            faults.add(f"is of another column than {label}", file=path.name)
        faults.raise_if_any()
    found = [*known, *sorted({*names} - {*known})]
    return as_json({"column": label, "classes": found}), found


def find_couples(base: Path, given: Path | None) -> Path | None:
    """The table of couples: the one that was named, else the source's own where it has one.

    Raises:
        UserError: the one named is not there, or is called otherwise.
    """
    names = ("couples.csv", "couples.parquet")
    if given is not None:
        if not given.is_file() or given.name not in names:
            reason = f"is not called {' or '.join(names)}; rename it" if given.is_file() else "there is no such file"
            raise UserError(f"couples={given}: {reason}")
        return given
    return next((base / name for name in names if (base / name).exists()), None)


def couples_csv(folder: Path, source: Source, faults: Faults) -> tuple[str, int]:
    """(text, number of couples) of the table in `folder`, checked against the profiles of the source."""
    first: dict[str, dict[str, str]] = {}
    for photo in source.photos:
        first.setdefault(photo.profile_id, {name: cell for name, cell in photo.columns.items() if name != "split"})
    profiles = Profiles(Table(Path("the source"), "row", (), ()), (), first, {}, None, (), frozenset())
    found = read_couples(folder, profiles, faults)
    if found is None:
        return "", 0
    table = found.table
    place = table.header.index("split") if "split" in table.header else None
    rows = [
        tuple(to_split(cell) if position == place else cell for position, cell in enumerate(cells))
        for _, cells in table.rows
    ]
    return as_csv(table.header, rows), len(rows)


def settled_groups(out: Path, max_shown: int) -> dict[str, str]:
    """Profile id -> group of copies, of the profiles that an earlier run kept; {} where there was none."""
    if not (out / "profiles.csv").exists():
        return {}
    faults = Faults(out, max_shown)
    table = read_table(out, "profiles", (("profile_id", *OWN_COLUMNS),), faults)
    faults.raise_if_any()
    assert table is not None  # what could not be read has left a fault
    group, left_out = OWN_COLUMNS
    return {record["profile_id"]: record[group] for _, record in table.records() if not record[left_out]}


def class_counts(source: Source, verdicts: Verdicts, label: str) -> Mapping[str, tuple[int, int]]:
    """Class -> (photos in the source, photos kept)."""
    counts: dict[str, list[int]] = {}
    for photo, kind in zip(source.photos, verdicts.kinds, strict=True):
        if name := photo.columns.get(label):
            both = counts.setdefault(name, [0, 0])
            both[0] += 1
            both[1] += not kind
    return {name: (before, after) for name, (before, after) in sorted(counts.items())}
