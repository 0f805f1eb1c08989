"""Profiles that `style_match.forget` took out of the folder and the source still has: they are not written again."""

import csv
import io
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from style_match.csvs import as_csv, read_cell
from style_match.data.couples import SIDES
from style_match.data.faults import Faults
from style_match.data.table import read_table
from style_match.errors import UserError
from style_match.forgetting.journal import Journal, forgotten_among
from style_match.preparation.labels import Labelled


def without_forgotten(out: Path, labelled: Labelled, couples: str, faults: Faults) -> tuple[Labelled, str, int]:
    """(the source without them, couples.csv without theirs, number of profiles).

    Ids that the table of `out` has are not looked at: whoever was forgotten is not there.

    Raises:
        UserError: forgetting somebody was interrupted there, forgotten.json is damaged, nobody is left.
    """
    if (journal := Journal(out)).path.exists():
        raise UserError(
            f"out={out}: forgetting somebody was interrupted here ({journal.path.name}). Give that command again first."
        )
    there = set[str]()
    if (out / "profiles.csv").is_file():
        table = read_table(out, "profiles", (("profile_id",),), faults)
        faults.raise_if_any()
        there = {record["profile_id"] for _, record in table.records()} if table is not None else there
    photos = labelled.source.photos
    gone = forgotten_among(out, dict.fromkeys(photo.profile_id for photo in photos if photo.profile_id not in there))
    if not gone:
        return labelled, couples, 0
    stays = [place for place, photo in enumerate(photos) if photo.profile_id not in gone]
    if not stays:
        raise UserError(f"out={out}: every profile of the source was forgotten here; give a source that has others")
    source = replace(labelled.source, photos=tuple(photos[place] for place in stays))
    metadata = tuple(labelled.metadata[place] for place in stays)
    places = tuple(labelled.places[place] for place in stays)
    files = tuple(labelled.files[place] for place in stays)
    return Labelled(source, metadata, places, files), _couples(couples, gone), len(gone)


def _couples(text: str, gone: Collection[str]) -> str:
    lines = csv.reader(io.StringIO(text, newline="")) if text else [()]
    header, *rows = [[read_cell(cell) for cell in cells] for cells in lines]
    ids = [header.index(name) for sides in SIDES for name in sides if name in header]
    return as_csv(header, (row for row in rows if not any(row[at] in gone for at in ids))) if text else ""
