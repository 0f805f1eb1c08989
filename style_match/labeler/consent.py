"""Who allowed their photos to be labelled: the column `consent` of a profiles table."""

import os
from collections.abc import Mapping
from pathlib import Path

from style_match.data.faults import Faults
from style_match.data.image_path import ImagePaths
from style_match.data.table import Table
from style_match.errors import UserError
from style_match.spelling import shown

COLUMN = "consent"
_YES, _NO = ("yes", "true", "1"), ("no", "false", "0", "")


def without_consent(
    table: Table | None, photos: Mapping[str, Path], identity: Mapping[str, str], *, max_faults_shown: int
) -> dict[str, str]:
    """image -> why it may not be labelled; empty where there is no table or no such column.

    A photo that several profiles use, also as copies with equal pixels, needs the consent of all of them; a photo that
    no profile names has nobody's.

    Args:
        photos: image -> file.
        identity: image -> hash of its pixels, equal for copies of one photo.

    Raises:
        UserError: a column that is called consent but for its writing, cells that are neither yes nor no, rows of one
            profile that disagree.
    """
    if table is None:
        return {}
    faults = Faults(table.path.parent, max_faults_shown)
    _refuse_other_writing(table, faults)
    if COLUMN not in table.header:
        return {}
    consent = _read(table, faults)
    file_of = {os.path.realpath(path): image for image, path in photos.items()}
    images = ImagePaths(table.path.parent, ())
    profiles_of: dict[str, list[str]] = {image: [] for image in photos}
    for _, record in table.records():
        # relative to the table's folder, as in every dataset folder, or else as the photos are called here
        places = images.on_disk(record["image"]) or [table.path.parent / record["image"]]
        image = next((file_of[real] for real in map(os.path.realpath, places) if real in file_of), record["image"])
        if image in profiles_of:
            profiles_of[image].append(record["profile_id"])
    refusing: dict[str, str] = {}  # hash -> the first profile that does not consent
    for image, profiles in profiles_of.items():
        for profile in profiles:
            if not consent[profile]:
                refusing.setdefault(identity[image], profile)
    found = {}
    for image, profiles in profiles_of.items():
        if identity[image] in refusing:
            found[image] = f"profile {refusing[identity[image]]} has not consented ({table.path.name})"
        elif not profiles:
            found[image] = f"no profile of {table.path.name} names it, so nobody has consented"
    return found


def said_of(table: Table | None) -> str | None:
    """What is said where nobody's consent is known; None where it is."""
    if table is None:
        return "no profiles table was found, so consent was not checked (profiles=FILE names one)"
    return None if COLUMN in table.header else f"{table.path} has no column {COLUMN}, so consent was not checked"


def _refuse_other_writing(table: Table, faults: Faults) -> None:
    """A column that its author takes for `consent` must not be passed over."""
    for name in table.header:
        if name != COLUMN and "".join(sign for sign in name.casefold() if sign.isalnum()) == COLUMN:
            faults.add(f"{shown(name)} is not read; call the column {COLUMN}", file=table.path.name, column=name)
    _raise(faults)


def _raise(faults: Faults) -> None:
    try:
        faults.raise_if_any()
    except UserError as error:
        raise UserError(f"{error}\nNothing was sent.") from None


def _read(table: Table, faults: Faults) -> dict[str, bool]:
    consent: dict[str, bool] = {}
    for row, record in table.records():
        cell, profile = record[COLUMN].casefold(), record["profile_id"]
        where = dict(file=table.path.name, place=table.place(row), column=COLUMN)
        if cell not in _YES + _NO:
            faults.add(
                f"{shown(record[COLUMN])} is neither yes nor no; write yes, true, 1, no, false, 0 or nothing", **where
            )
        elif consent.setdefault(profile, cell in _YES) != (cell in _YES):
            faults.add(
                f"profile {shown(profile)} has consented in one row and not in another; make them agree", **where
            )
    _raise(faults)
    return consent
