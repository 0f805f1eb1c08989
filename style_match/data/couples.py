"""The couples table: who was matched with whom."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from style_match.data.people import say_item
from style_match.data.profiles import Profiles
from style_match.data.records import Couple, Faults, Rejected
from style_match.data.tables import Table, read_given_splits, read_table
from style_match.utils.text import cut, folded, shown

SIDES = (("female_id", "male_id"), ("left_id", "right_id"))
GENDERS = {
    **dict.fromkeys(("female", "f", "woman", "w", "girl", "여", "여자", "여성"), "female"),
    **dict.fromkeys(("male", "m", "man", "boy", "남", "남자", "남성"), "male"),
}


_WHOLE = re.compile(r"0*(\d+)(?:\.0+)?")


@dataclass(frozen=True)
class Couples:
    table: Table
    couples: tuple[Couple, ...]
    left_name: str
    right_name: str
    rejected: tuple[Rejected, ...]
    notes: tuple[str, ...] = ()


def read_couples(root: Path, profiles: Profiles | None, faults: Faults) -> Couples | None:
    """Reads and checks couples.csv or .parquet against the profiles (None: they could not be read)."""
    table = read_table(root, "couples", SIDES, faults)
    if table is None:
        return None
    present = [sides for sides in SIDES if set(sides) <= set(table.header)]
    if len(present) > 1:
        faults.add("has female_id, male_id and left_id, right_id; keep one of the two", file=table.path.name)
        return None
    sides = present[0]
    if _number_twins(table, sides, profiles, faults):
        return None  # all that else is wrong with such rows follows from it
    splits = _splits(table, sides, profiles, faults)
    check = _RowCheck(table, sides, profiles, splits, faults)
    couples, rejected = [], []
    left_out: Collection[str] = () if profiles is None else profiles.left_out
    for row, record in table.records():
        left, right = record[sides[0]], record[sides[1]]
        if not check.is_sound(row, left, right):
            continue
        couple = Couple(left, right, None if splits is None else splits[row], row)
        if lost := [profile_id for profile_id in (left, right) if profile_id in left_out]:
            rejected.append(couple_without(couple, lost, table.path.name))
        else:
            couples.append(couple)
    if rejected and not couples:
        faults.add(f"every couple is left out ({rejected[0].reason})", file=table.path.name)
    left_name, right_name = (side.removesuffix("_id") for side in sides)
    notes = []
    if words := [shown(word) for word in check.unknown_words]:
        notes.append(
            f"gender: {cut(', '.join(words))} {'is' if len(words) == 1 else 'are'} not known, so {table.path.name} was "
            "not checked for swapped columns there; write female or male"
        )
    return Couples(table, tuple(couples), left_name, right_name, tuple(rejected), tuple(notes))


def gender_of(word: str) -> str | None:
    """female or male, for a word of `GENDERS` in any case; None for others."""
    return GENDERS.get(folded(word))


def _number_twins(table: Table, sides: tuple[str, str], profiles: Profiles | None, faults: Faults) -> bool:
    """Adds a fault for each column of ids that are those of the profiles but for how a number is written."""
    if profiles is None:
        return False
    known: dict[str, str] = {}
    for profile_id in (*profiles.columns, *profiles.left_out):
        known.setdefault(_as_number(profile_id), profile_id)
    before = len(faults)
    for side in sides:
        bad = [
            (row, record[side])
            for row, record in table.records()
            if record[side] not in profiles and known.get(_as_number(record[side]), record[side]) != record[side]
        ]
        if bad:
            row, written = bad[0]
            what = (
                f"{shown(written)} is {shown(known[_as_number(written)])} in {profiles.table.path.name}, and "
                f"{len(bad)} ids differ so: one of the two columns was stored as numbers. Write both as text"
            )
            faults.add(what, file=table.path.name, place=table.place(row), column=side)
    return len(faults) > before


def _as_number(text: str) -> str:
    """The digits of a whole number, without zeros before it and a fraction of zeros; other texts as they are."""
    found = _WHOLE.fullmatch(text)
    return found[1] if found else text


def couple_without(couple: Couple, lost: Iterable[str], file: str) -> Rejected:
    """A couple that is left out as these of its profiles are."""
    reason = f"profile {' and '.join(lost)} is left out"
    return Rejected("couple", say_item(couple.item_id), file, couple.row, reason)


def _splits(table: Table, sides: tuple[str, str], profiles: Profiles | None, faults: Faults) -> dict[int, str] | None:
    """A couple's split is its own cell, else that of its two profiles; where both are given they must agree."""
    own = read_given_splits(table, faults, all_three=True)
    of_profiles = None if profiles is None else profiles.splits
    if profiles is None or of_profiles is None:
        return own
    splits = {}
    for row, record in table.records():
        said = {of_profiles[record[side]] for side in sides if record[side] in of_profiles}
        said |= {own[row]} if own is not None else set()
        if len(said) > 1:
            files = f"{table.path.name} and {profiles.table.path.name}" if own is not None else profiles.table.path.name
            what = f"{files} put this couple and its profiles in splits {' and '.join(sorted(said))}; choose one"
            faults.add(what, file=table.path.name, place=table.place(row))
        splits[row] = min(said, default="train")  # more than one, or none, is a fault that stops the reading
    return splits


class _RowCheck:
    def __init__(
        self,
        table: Table,
        sides: tuple[str, str],
        profiles: Profiles | None,
        splits: dict[int, str] | None,
        faults: Faults,
    ) -> None:
        self.table, self.sides, self.profiles, self.splits, self.faults = table, sides, profiles, splits, faults
        self.row_of: dict[frozenset[str], tuple[int, str]] = {}  # pair -> its first row, who was left there
        self.side_of: dict[str, tuple[str, int]] = {}  # profile -> its side, the row that says so
        self.unknown_words: dict[str, None] = {}  # of gender, so that its profiles were not checked

    @cached_property
    def folded_ids(self) -> dict[str, str]:
        return {} if self.profiles is None else {folded(each): each for each in self.profiles.columns}

    def is_sound(self, row: int, left: str, right: str) -> bool:
        before = len(self.faults)
        for side, profile_id in zip(self.sides, (left, right), strict=True):
            if not profile_id:
                self._add(row, "the cell is missing; fill it in or remove the row", side)
            elif self.profiles is not None and profile_id not in self.profiles:
                twin = self.folded_ids.get(folded(profile_id))
                near = f", but {shown(twin)}: upper and lower case count" if twin else ""
                file = self.profiles.table.path.name
                what = f"no profile {shown(profile_id)} in {file}{near}; add it or correct the id"
                self._add(row, what, side)
        if left and left == right:
            self._add(row, f"profile {shown(left)} is coupled with itself; remove the row or correct it")
        elif user_id := self._one_user(left, right):
            both = f"profiles {shown(left)} and {shown(right)} are one person"
            self._add(row, f"{both}, user_id {shown(user_id)}; remove the row or correct it")
        elif left and right and not self._is_repeated(row, left, right):
            for side, profile_id in zip(self.sides, (left, right), strict=True):
                self._check_side(row, side, profile_id)
        return len(self.faults) == before

    def _one_user(self, left: str, right: str) -> str:
        columns = {} if self.profiles is None else self.profiles.columns
        one, other = (columns.get(profile_id, {}).get("user_id", "") for profile_id in (left, right))
        return one if one == other else ""

    def _is_repeated(self, row: int, left: str, right: str) -> bool:
        first, first_left = self.row_of.setdefault(frozenset((left, right)), (row, left))
        if first == row:
            return False
        turned = "" if first_left == left else " the other way round"
        where = f"stands already in {self.table.place(first)}{turned}"
        if self.splits is not None and self.splits[first] != self.splits[row]:
            where += f", there in split {self.splits[first]} and here in {self.splits[row]}"
        self._add(row, f"the couple {shown(left)}, {shown(right)} {where}; remove one")
        return True

    def _check_side(self, row: int, side: str, profile_id: str) -> None:
        first_side, first = self.side_of.setdefault(profile_id, (side, row))
        if first_side != side:
            what = (
                f"profile {shown(profile_id)} is in {first_side} in {self.table.place(first)}; a profile keeps one side"
            )
            self._add(row, what, side)
            return
        columns = {} if self.profiles is None else self.profiles.columns.get(profile_id, {})
        word = columns.get("gender", "")
        gender = gender_of(word)
        if word and gender is None and side in SIDES[0]:
            self.unknown_words[word] = None
        if gender is not None and side in SIDES[0] and side != f"{gender}_id":
            what = f"profile {shown(profile_id)} has gender {shown(gender)}; are the columns swapped?"
            what += " (or use left_id, right_id)"
            self._add(row, what, side)

    def _add(self, row: int, what: str, column: str = "") -> None:
        self.faults.add(what, file=self.table.path.name, place=self.table.place(row), column=column)
