"""The profiles and couples tables and classes.json, checked row by row."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from style_match.data.image_paths import ImagePaths, is_absent
from style_match.data.records import (
    DUPLICATES,
    LEFT_OUT,
    SPLITS,
    Couple,
    Faults,
    Photo,
    Rejected,
    describe_item,
    has_control_character,
    nearest,
)
from style_match.data.tables import Table, read_table, read_text
from style_match.utils.text import cut, folded, plain_keys_and_values, shown

SIDES = (("female_id", "male_id"), ("left_id", "right_id"))
GENDERS = {
    **dict.fromkeys(("female", "f", "woman", "w", "girl", "여", "여자", "여성"), "female"),
    **dict.fromkeys(("male", "m", "man", "boy", "남", "남자", "남성"), "male"),
}
FILE_NAME = "classes.json"  # which classes exist, each at the position that is its number
KEYS = ("column", "classes")
_MISSING = "the cell is missing; fill it in or remove the row"
_WHOLE = re.compile(r"0*(\d+)(?:\.0+)?")


@dataclass(frozen=True)
class Profiles:
    """The profiles table.

    Attributes:
        columns: profile id -> the further columns of its first row.
        labels: profile id -> class.
        splits: profile id -> split, if the table has a `split` column.
        rejected: rows with a reason under `left_out`.
        left_out: profiles all of whose rows are rejected.
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
    """Read and check profiles.csv or .parquet; None if it has no readable rows. Every fault goes to `faults`."""
    required = ("profile_id", "image", *([label_column] if label_column else []))
    table = read_table(root, "profiles", (required,), faults)
    if table is None:
        return None
    name = table.path.name
    of_profile = ("gender", "user_id", "split", DUPLICATES, label_column)  # equal in all rows of a profile
    left_out: list[tuple[str, Rejected]] = []  # (profile id, photo)
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
            faults.add(_MISSING, file=name, place=place, column=column)
        if has_control_character(profile_id):
            faults.add(f"{shown(profile_id)} has a control character", file=name, place=place, column="profile_id")
        if not profile_id or not image:
            continue
        earlier = row_of.setdefault((profile_id, PurePosixPath(image)), row)
        if earlier != row:
            what = f"profile {shown(profile_id)} already has image {shown(image)} in {table.place(earlier)}; remove one"
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
        for column, cell in record.items():
            if column not in of_profile or column in empty or columns[profile_id][column] == cell:
                continue
            first = f"{shown(columns[profile_id][column])} in {table.place(first_row[profile_id])}"
            remedy = "make them agree"
            if column == label_column:
                remedy = "if photos of one person differ, give each its own profile_id and the person's id as user_id"
            what = f"profile {shown(profile_id)} has {shown(cell)} here and {first}; {remedy}"
            faults.add(what, file=name, place=place, column=column)
    if not columns and left_out:
        faults.add(f"every photo is left out ({left_out[0][1].reason}); empty the cells", file=name, column=LEFT_OUT)
    num_rows = len(table.rows) - len(left_out)
    if len(missing) == num_rows > 2 and all(is_absent(fault) for _, fault in missing):
        what = f"none of the {num_rows} images exists below {images.base}"
        faults.add(f"{what}; set data.image_root to the folder they are relative to", file=name, column="image")
    else:
        for row, fault in missing:
            faults.add(fault, file=name, place=table.place(row), column="image")
    labels = {profile_id: cells[label_column] for profile_id, cells in columns.items()} if label_column else {}
    if label_column:
        _check_labels(labels, table, label_column, faults)
    rejected_rows = {photo.row for _, photo in left_out}
    remaining = replace(table, rows=tuple(row for row in table.rows if row[0] not in rejected_rows))
    by_row = read_given_splits(remaining, faults, all_three=label_column is not None)
    splits = None if by_row is None else {profile_id: by_row[row] for profile_id, row in first_row.items()}
    # one entry per photo, or per profile without any other photo: the row of its first photo and all reasons
    rejected = [photo for profile_id, photo in left_out if profile_id in columns]
    lost: dict[str, list[Rejected]] = {}
    for profile_id, photo in left_out:
        if profile_id not in columns:
            lost.setdefault(profile_id, []).append(photo)
    for profile_id, of_lost in lost.items():
        reason = "; ".join(f"{photo.id}: {photo.reason}" for photo in of_lost)
        rejected.append(Rejected("profile", profile_id, name, of_lost[0].row, reason))
    return Profiles(table, tuple(photos), columns, labels, splits, tuple(rejected), frozenset(lost))


def _check_labels(labels: dict[str, str], table: Table, label_column: str, faults: Faults) -> None:
    at = {"file": table.path.name, "column": label_column}
    classes = sorted(set(labels.values()) - {""})
    if len(classes) == 1:
        faults.add(f"every profile has the class {shown(classes[0])}; styles need at least two classes", **at)
    by_letters: dict[str, str] = {}
    for each in classes:
        letters = "".join(letter for letter in folded(each) if letter.isalnum())
        if letters and (other := by_letters.setdefault(letters, each)) != each:
            faults.add(f"classes {shown(other)} and {shown(each)} differ only in spelling; use one spelling", **at)


def read_given_splits(table: Table, faults: Faults, *, all_three: bool) -> dict[int, str] | None:
    """Row number -> split; None when no row names one, or when the column has faults.

    With `all_three` each of train, val and test must have a row.
    """
    if "split" not in table.header:
        return None
    before, at = len(faults), {"file": table.path.name, "column": "split"}
    cells = {row: record["split"] for row, record in table.records()}
    if not any(cells.values()):
        return None
    for row, word in cells.items():
        if not word:
            what = "the cell is missing but other rows name a split; fill in every row or remove the column"
            faults.add(what, place=table.place(row), **at)
        elif word not in SPLITS:
            what = f"{shown(word)} is none of {', '.join(SPLITS)}{nearest(word, SPLITS)}"
            faults.add(what, place=table.place(row), **at)
    if len(faults) == before and all_three:
        for split in SPLITS:
            if split not in cells.values():
                faults.add(
                    f"no row is in split {shown(split)}; each split needs rows. Without this column a split is drawn "
                    "(style_match.prepare leaves it out with columns.split=null)",
                    **at,
                )
    return cells if len(faults) == before else None


@dataclass(frozen=True)
class Couples:
    """The couples table; `rejected` are couples of profiles that are left out."""

    table: Table
    couples: tuple[Couple, ...]
    left_name: str
    right_name: str
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = ()


def read_couples(root: Path, profiles: Profiles | None, faults: Faults, *, with_splits: bool = True) -> Couples | None:
    """Read and check couples.csv or .parquet against the profiles (None: they could not be read).

    Args:
        with_splits: whether a column of splits is read; otherwise it is not in the returned table either.
    """
    table = read_table(root, "couples", SIDES, faults)
    if table is None:
        return None
    if not with_splits and "split" in table.header:
        at = table.header.index("split")
        rows = tuple((row, (*cells[:at], *cells[at + 1 :])) for row, cells in table.rows)
        table = replace(table, header=(*table.header[:at], *table.header[at + 1 :]), rows=rows)
    present = [sides for sides in SIDES if set(sides) <= set(table.header)]
    if len(present) > 1:
        faults.add("has female_id, male_id and left_id, right_id; keep one of the two", file=table.path.name)
        return None
    sides = present[0]
    if profiles is not None and _has_ids_as_numbers(table, sides, profiles, faults):
        return None  # further faults would follow from these ids
    splits = _splits_of_couples(table, sides, profiles, faults)
    check = _CoupleCheck(table, sides, profiles)
    left_out = frozenset[str]() if profiles is None else profiles.left_out
    couples, rejected = [], []
    for row, record in table.records():
        couple = Couple(record[sides[0]], record[sides[1]], None if splits is None else splits[row], row)
        found = list(check.faults_of(couple))
        for what, column in found:
            faults.add(what, file=table.path.name, place=table.place(row), column=column)
        if lost := [each for each in (couple.left_id, couple.right_id) if each in left_out and not found]:
            rejected.append(couple_without(couple, lost, table.path.name))
        elif not found:
            couples.append(couple)
    if rejected and not couples:
        faults.add(f"every couple is left out ({rejected[0].reason})", file=table.path.name)
    notes = []
    if words := [shown(word) for word in check.unknown_genders]:
        notes.append(
            f"gender: {cut(', '.join(words))} {'is' if len(words) == 1 else 'are'} unknown, so {table.path.name} was "
            "not checked for swapped columns there; use female or male"
        )
    left_name, right_name = (side.removesuffix("_id") for side in sides)
    return Couples(table, tuple(couples), left_name, right_name, tuple(rejected), tuple(notes))


def gender_of(word: str) -> str | None:
    """female or male, for a word of `GENDERS` in any case; None for others."""
    return GENDERS.get(folded(word))


def couple_without(couple: Couple, lost: Iterable[str], file: str) -> Rejected:
    """A couple that is rejected because these of its profiles are left out."""
    reason = f"profile {' and '.join(lost)} is left out"
    return Rejected("couple", describe_item(couple.item_id), file, couple.row, reason)


def _has_ids_as_numbers(table: Table, sides: tuple[str, str], profiles: Profiles, faults: Faults) -> bool:
    """Add a fault for each column whose ids differ from those of the profiles only in how a number is written."""
    by_number: dict[str, str] = {}
    for profile_id in (*profiles.columns, *profiles.left_out):
        by_number.setdefault(_as_number(profile_id), profile_id)
    before = len(faults)
    for side in sides:
        ids = [(row, record[side]) for row, record in table.records()]
        bad = [(row, each) for row, each in ids if each not in profiles and _as_number(each) in by_number]
        if bad:
            row, written = bad[0]
            what = (
                f"{shown(written)} is {shown(by_number[_as_number(written)])} in {profiles.table.path.name}, and "
                f"{len(bad)} ids differ like this: one of the two columns was stored as numbers. Store both as text"
            )
            faults.add(what, file=table.path.name, place=table.place(row), column=side)
    return len(faults) > before


def _as_number(text: str) -> str:
    """The digits of a whole number, without leading zeros and a fraction of zeros; other texts as they are."""
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def _splits_of_couples(
    table: Table, sides: tuple[str, str], profiles: Profiles | None, faults: Faults
) -> dict[int, str] | None:
    """A couple's split is its own cell, otherwise that of its two profiles; where both exist they must agree."""
    own = read_given_splits(table, faults, all_three=True)
    of_profiles = None if profiles is None else profiles.splits
    if profiles is None or of_profiles is None:
        return own
    splits = {}
    for row, record in table.records():
        found = {of_profiles[record[side]] for side in sides if record[side] in of_profiles}
        found |= {own[row]} if own is not None else set()
        if len(found) > 1:
            files = f"{table.path.name} and {profiles.table.path.name}" if own is not None else profiles.table.path.name
            what = f"{files} put this couple and its profiles in splits {' and '.join(sorted(found))}; choose one"
            faults.add(what, file=table.path.name, place=table.place(row))
        splits[row] = min(found, default="train")  # more than one, or none, is a fault
    return splits


class _CoupleCheck:
    """Finds faults in rows of the couples table, one after the other, from the profiles and the rows before."""

    def __init__(self, table: Table, sides: tuple[str, str], profiles: Profiles | None) -> None:
        self.table, self.sides, self.profiles = table, sides, profiles
        self.columns = {} if profiles is None else profiles.columns
        self.by_folded = {folded(each): each for each in self.columns}
        self.first_of: dict[frozenset[str], Couple] = {}  # pair -> its first row
        self.side_of: dict[str, tuple[str, int]] = {}  # profile -> its side and the row that says so
        self.unknown_genders: dict[str, None] = {}

    def faults_of(self, couple: Couple) -> Iterator[tuple[str, str]]:
        """(what is wrong, column) for one row."""
        left, right = couple.left_id, couple.right_id
        for side, profile_id in zip(self.sides, (left, right), strict=True):
            if not profile_id:
                yield _MISSING, side
            elif self.profiles is not None and profile_id not in self.profiles:
                twin = self.by_folded.get(folded(profile_id))
                hint = f", but {shown(twin)} (case matters)" if twin else ""
                file = self.profiles.table.path.name
                yield f"no profile {shown(profile_id)} in {file}{hint}; add it or correct the id", side
        user_ids = {self.columns.get(each, {}).get("user_id") for each in (left, right)}
        if left and left == right:
            yield f"profile {shown(left)} is coupled with itself; remove or correct the row", ""
        elif len(user_ids) == 1 and (user_id := user_ids.pop()):
            both = f"profiles {shown(left)} and {shown(right)} are one person, user_id {shown(user_id)}"
            yield f"{both}; remove or correct the row", ""
        elif left and right:
            first = self.first_of.setdefault(frozenset((left, right)), couple)
            if first is couple:
                yield from self._faults_of_sides(couple)
                return
            where = (
                f"is already in {self.table.place(first.row)}{'' if first.left_id == left else ' the other way round'}"
            )
            if first.split != couple.split:
                where += f", in split {first.split} there and {couple.split} here"
            yield f"the couple {shown(left)}, {shown(right)} {where}; remove one", ""

    def _faults_of_sides(self, couple: Couple) -> Iterator[tuple[str, str]]:
        for side, profile_id in zip(self.sides, (couple.left_id, couple.right_id), strict=True):
            first_side, first = self.side_of.setdefault(profile_id, (side, couple.row))
            word = self.columns.get(profile_id, {}).get("gender", "")
            gender = gender_of(word)
            if first_side != side:
                where = f"in {first_side} in {self.table.place(first)}"
                yield f"profile {shown(profile_id)} is {where}; a profile keeps one side", side
            elif word and not gender and side in SIDES[0]:
                self.unknown_genders[word] = None
            elif gender and side in SIDES[0] and side != f"{gender}_id":
                what = f"profile {shown(profile_id)} has gender {shown(gender)}; are the columns swapped?"
                yield f"{what} (or use left_id, right_id)", side


def read_classes(root: Path, profiles: Profiles | None, label_column: str, faults: Faults) -> tuple[str, ...]:
    """The classes of `label_column` by their numbers; () without classes.json, or if it is for another column."""
    path = root / FILE_NAME
    text = read_text(path, faults) if path.exists() else None
    if text is None:
        return ()
    try:
        found = plain_keys_and_values(json.loads(text))
    except (ValueError, RecursionError) as error:
        what = f"is broken JSON ({error}); restore it, or delete it to number the classes again"
        faults.add(what, file=FILE_NAME)
        return ()
    if what := _fault_of_classes(found):
        faults.add(what, file=FILE_NAME)
        return ()
    if found["column"] != label_column:
        return ()
    classes = tuple(found["classes"])
    if profiles is not None:
        row_of = {photo.profile_id: photo.row for photo in reversed(profiles.photos)}
        for profile_id, label in profiles.labels.items():
            if label and label not in classes:
                what = f"{shown(label)} is no class of {FILE_NAME}{nearest(label, classes)}"
                place = profiles.table.place(row_of[profile_id]) if profile_id in row_of else ""
                at = {"file": profiles.table.path.name, "place": place, "column": label_column}
                faults.add(f"{what}; correct it or add it at the end", **at)
    return classes


def _fault_of_classes(found: object) -> str:
    """What is wrong with the content of classes.json; "" if nothing is."""
    if not isinstance(found, Mapping):
        return 'is not an object; write {"column": "fashion_style", "classes": [...]}'
    for key in found.keys() - set(KEYS):
        return f"unknown key {shown(key)}{nearest(key, KEYS)}; the keys are {', '.join(KEYS)}"
    column, classes = (found.get(key) for key in KEYS)
    if not isinstance(column, str) or not column:
        return '"column" is not the name of a column of the profiles table'
    if not isinstance(classes, list) or not all(isinstance(name, str) and name for name in classes):
        return '"classes" is not a list of class names'
    if len(classes) < 2:
        return f'"classes" has {len(classes)} names; styles need at least two'
    twice = sorted({each for each in classes if classes.count(each) > 1})
    return f"class {shown(twice[0])} occurs twice; a class has one number" if twice else ""
