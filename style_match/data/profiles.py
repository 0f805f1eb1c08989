"""The profiles table: who there is and where their photos are."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from style_match.data.photos import ImagePaths, is_absent
from style_match.data.records import DUPLICATES, LEFT_OUT, Faults, Photo, Rejected, has_control_character, nearest
from style_match.data.tables import Table, read_given_splits, read_table, read_text
from style_match.utils.text import folded, plain_keys_and_values, shown


@dataclass(frozen=True)
class Profiles:
    """`columns` are the further columns of a profile's first row; `splits` names each profile's split, if given.

    Rows with a reason under `left_out` are in `rejected` alone, and so are the profiles `left_out`, who have no other.
    """

    table: Table
    photos: tuple[Photo, ...]
    columns: dict[str, dict[str, str]]
    labels: dict[str, str]
    splits: dict[str, str] | None
    rejected: tuple[Rejected, ...]
    left_out: frozenset[str]

    def __contains__(self, profile_id: str) -> bool:
        return profile_id in self.columns or profile_id in self.left_out


def read_profiles(root: Path, images: ImagePaths, label_column: str | None, faults: Faults) -> Profiles | None:
    """Reads and checks profiles.csv or .parquet; None when it has no readable rows. Every fault goes to `faults`."""
    required = ("profile_id", "image", *([label_column] if label_column else []))
    table = read_table(root, "profiles", (required,), faults)
    if table is None:
        return None
    name = table.path.name
    said_once = ("gender", "user_id", "split", DUPLICATES, label_column)
    one_value = [column for column in said_once if column in table.header]
    left_out: list[tuple[str, Rejected]] = []  # profile id, photo
    photos: list[Photo] = []
    missing: list[tuple[int, str]] = []
    columns: dict[str, dict[str, str]] = {}
    first_row: dict[str, int] = {}
    row_of: dict[tuple[str, PurePosixPath], int] = {}
    for row, record in table.records():
        place, profile_id, image = table.place(row), record["profile_id"], record["image"]
        reason = record.pop(LEFT_OUT, "")
        empty = [column for column in (required[:2] if reason else required) if not record[column]]
        for column in empty:
            faults.add("the cell is missing; fill it in or remove the row", file=name, place=place, column=column)
        if has_control_character(profile_id):
            faults.add(f"{shown(profile_id)} holds a control character", file=name, place=place, column="profile_id")
        if not profile_id or not image:
            continue
        earlier = row_of.setdefault((profile_id, PurePosixPath(image)), row)
        if earlier != row:
            what = f"profile {shown(profile_id)} with image {shown(image)} stands already in {table.place(earlier)}"
            what += "; remove one"
            faults.add(what, file=name, place=place)
        if reason:
            left_out.append((profile_id, Rejected("photo", image, name, row, reason)))
            continue
        path, fault = images.find(image)
        if path is not None:
            photos.append(Photo(profile_id, image, path, row))
        else:
            missing.append((row, fault))
        if profile_id not in columns:
            columns[profile_id] = {key: cell for key, cell in record.items() if key not in ("profile_id", "image")}
            first_row[profile_id] = row
            continue
        for column in one_value:
            if column in empty or columns[profile_id][column] == record[column]:
                continue
            first = f"{shown(columns[profile_id][column])} in {table.place(first_row[profile_id])}"
            what = f"profile {shown(profile_id)} has {shown(record[column])} here and {first}"
            what += f"; {_remedy(column, label_column)}"
            faults.add(what, file=name, place=place, column=column)
    if not columns and left_out:
        faults.add(f"every photo is left out ({left_out[0][1].reason}); empty the cells", file=name, column=LEFT_OUT)
    _add_missing(missing, len(table.rows) - len(left_out), images.base, table, faults)
    labels = {profile_id: cells[label_column] for profile_id, cells in columns.items()} if label_column else {}
    _check_classes(labels, table, label_column, faults)
    hidden = {photo.row for _, photo in left_out}
    kept = replace(table, rows=tuple(row for row in table.rows if row[0] not in hidden))
    by_row = read_given_splits(kept, faults, all_three=label_column is not None)
    splits = None if by_row is None else {profile_id: by_row[row] for profile_id, row in first_row.items()}
    lost = frozenset(profile_id for profile_id, _ in left_out if profile_id not in columns)
    return Profiles(table, tuple(photos), columns, labels, splits, tuple(_rejected(left_out, lost)), lost)


def _rejected(left_out: list[tuple[str, Rejected]], lost: frozenset[str]) -> Iterator[Rejected]:
    """A line a photo, or a profile that has no other: with the row of its first photo and all reasons."""
    of_lost: dict[str, list[Rejected]] = {}
    for profile_id, photo in left_out:
        if profile_id in lost:
            of_lost.setdefault(profile_id, []).append(photo)
        else:
            yield photo
    for profile_id, photos in of_lost.items():
        reason = "; ".join(f"{photo.id}: {photo.reason}" for photo in photos)
        yield Rejected("profile", profile_id, photos[0].file, photos[0].row, reason)


def _remedy(column: str, label_column: str | None) -> str:
    if column == label_column:
        return "if photos of one person differ, give each photo its own profile_id and the person's id as user_id"
    return "make them agree"


def _add_missing(missing: list[tuple[int, str]], rows: int, base: Path, table: Table, faults: Faults) -> None:
    if len(missing) == rows > 2 and all(is_absent(fault) for _, fault in missing):
        what = f"none of the {rows} images exists below {base}; set data.image_root to the folder they are relative to"
        faults.add(what, file=table.path.name, column="image")
        return
    for row, fault in missing:
        faults.add(fault, file=table.path.name, place=table.place(row), column="image")


def _check_classes(labels: dict[str, str], table: Table, label_column: str | None, faults: Faults) -> None:
    classes = sorted(set(labels.values()) - {""})
    if label_column is None or not classes:
        return
    if len(classes) == 1:
        what = f"every profile has the class {shown(classes[0])}; styles need two classes or more"
        faults.add(what, file=table.path.name, column=label_column)
    written: dict[str, str] = {}
    for each in classes:
        plain = "".join(letter for letter in folded(each) if letter.isalnum())
        if plain and written.setdefault(plain, each) != each:
            what = f"classes {shown(written[plain])} and {shown(each)} differ in writing only; write them alike"
            faults.add(what, file=table.path.name, column=label_column)


# classes.json: which classes there are, each at the place that is its number, whatever rows come and go.


FILE_NAME = "classes.json"
KEYS = ("column", "classes")


def read_classes(root: Path, profiles: Profiles | None, label_column: str, faults: Faults) -> tuple[str, ...]:
    """The classes of `label_column` by their numbers; () where there is no file, or one of another column.

    A label that is none of them is a fault, named with its line.
    """
    path = root / FILE_NAME
    if not path.exists():
        return ()
    text = read_text(path, faults)
    if text is None:
        return ()
    try:
        found = plain_keys_and_values(json.loads(text))
    except (ValueError, RecursionError) as error:
        faults.add(f"is broken JSON ({error}); restore it, or delete it to number the classes anew", file=FILE_NAME)
        return ()
    before = len(faults)
    _check(found, faults)
    if len(faults) > before or found["column"] != label_column:
        return ()
    classes = tuple(found["classes"])
    if profiles is not None:
        _check_labels(profiles.labels, classes, profiles, label_column, faults)
    return classes


def _check(found: object, faults: Faults) -> None:
    if not isinstance(found, dict):
        faults.add('is not an object; write {"column": "fashion_style", "classes": [...]}', file=FILE_NAME)
        return
    for key in found.keys() - set(KEYS):
        faults.add(f"unknown key {shown(key)}{nearest(key, KEYS)}; the keys are {', '.join(KEYS)}", file=FILE_NAME)
    column, classes = (found.get(key) for key in KEYS)
    if not isinstance(column, str) or not column:
        faults.add('"column" is not the name of a column of the profiles table', file=FILE_NAME)
    if not isinstance(classes, list) or not all(
        isinstance(name, str) and name.strip() == name != "" for name in classes
    ):
        faults.add('"classes" is not a list of class names without spaces around them', file=FILE_NAME)
    elif len(classes) < 2:
        faults.add(f'"classes" names {len(classes)}; styles need two or more', file=FILE_NAME)
    else:
        for each in sorted({each for each in classes if classes.count(each) > 1}):
            faults.add(f"class {shown(each)} stands twice; a class has one number", file=FILE_NAME)


def _check_labels(
    labels: Mapping[str, str], classes: tuple[str, ...], profiles: Profiles, label_column: str, faults: Faults
) -> None:
    row_of: dict[str, int] = {}
    for photo in profiles.photos:
        row_of.setdefault(photo.profile_id, photo.row)
    for profile_id, label in labels.items():
        if label and label not in classes:
            what = (
                f"{shown(label)} is no class of {FILE_NAME}{nearest(label, classes)}; correct it or add it at the end"
            )
            place = profiles.table.place(row_of[profile_id]) if profile_id in row_of else ""
            faults.add(what, file=profiles.table.path.name, place=place, column=label_column)
