"""Which photos are left out, and the one reason given for each."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from style_match.data.profiles import LEFT_OUT
from style_match.data.records import SPLITS
from style_match.errors import UserError
from style_match.preparation import copies
from style_match.preparation.filters import left_out_by
from style_match.preparation.inspection import Facts
from style_match.preparation.source import SourcePhoto
from style_match.progress import bar

UNDECODABLE, TWICE = "cannot be decoded", "same file twice"  # photos that are not copied to the folder either
LEAST_PROFILES = 2  # of a class: one to ask with, one to be found


@dataclass(frozen=True)
class Verdicts:
    """By position of the photo. `kinds` are short words for counting, "" where the photo is kept.

    Attributes:
        groups: profile id -> name of its group of copies.
        pairs: of copies and near copies, found among all photos.
    """

    reasons: list[str]
    kinds: list[str]
    groups: dict[str, str]
    pairs: list[copies.Pair]

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(kind for kind in self.kinds if kind).items()))


def judge(
    photos: Sequence[SourcePhoto],
    facts: Sequence[Facts],
    *,
    leave_out: Mapping[str, Sequence[str]],
    min_side_px: int | None,
    label: str | None,
    duplicates: Mapping[str, Any],
    settled: Mapping[str, str],
    show: bool,
) -> Verdicts:
    """A reason for each photo that is left out.

    Args:
        leave_out: attribute -> values.
        duplicates: the node of the config.
        settled: see `copies.group`.
        show: whether progress may be shown.
    """
    owners = [photo.profile_id for photo in photos]
    with bar("comparing photos", "photos", show=show) as advance:
        pairs = copies.find_pairs(facts, duplicates, advance)
    groups, bridges = copies.group(owners, pairs, settled)
    twin = {later: first for first, later in _twins(photos, facts)}
    verdicts = Verdicts([""] * len(photos), [""] * len(photos), groups, pairs)
    for place, (photo, its) in enumerate(zip(photos, facts, strict=True)):
        unwanted = left_out_by(photo.columns, leave_out)
        kind, reason = "", ""
        if given := photo.columns.get(LEFT_OUT):
            kind, reason = "left out by the source", given
        elif its.fault:
            kind, reason = UNDECODABLE, its.fault
        elif place in twin:
            kind, reason = TWICE, f"the same bytes as {photos[twin[place]].image} of the same profile"
        elif min_side_px is not None and min(its.width, its.height) < min_side_px:
            kind, reason = "too small", f"{its.width} x {its.height} pixels, a side below min_side_px={min_side_px}"
        elif unwanted:
            kind = reason = unwanted
        elif label is not None and not photo.columns.get(label):
            kind, reason = f"no {label}", f"no {label} in the table or in metadata.jsonl"
        elif place in bridges:
            kind = "copy of two"
            reason = f"a copy of photos of profiles that are in no one group already, {bridges[place]} among them"
        verdicts.kinds[place], verdicts.reasons[place] = kind, reason
    if duplicates["across_splits"] == "leave_out":
        _part(photos, verdicts)
    return verdicts


def _twins(photos: Sequence[SourcePhoto], facts: Sequence[Facts]) -> list[copies.Pair]:
    """(first, later) photos of one profile with the same bytes."""
    return copies.equal([f"{each.sha256} {photo.profile_id}" for photo, each in zip(photos, facts, strict=True)])


def _part(photos: Sequence[SourcePhoto], verdicts: Verdicts) -> None:
    """Where the source's own splits part copies, those in test stay, else those in val; the others are left out."""
    members: dict[str, list[int]] = {}
    for place, photo in enumerate(photos):
        name = verdicts.groups.get(photo.profile_id)
        if name and not verdicts.kinds[place] and photo.columns.get("split") in SPLITS:
            members.setdefault(name, []).append(place)
    for places in members.values():
        last = max((photos[place].columns["split"] for place in places), key=SPLITS.index)
        stays = next(photos[place].profile_id for place in places if photos[place].columns["split"] == last)
        for place in places:
            if photos[place].columns["split"] != last:
                verdicts.kinds[place] = "copy in another split"
                verdicts.reasons[place] = f"a copy or near copy of {stays}, which is in {last}"


def refuse_empty_classes(photos: Sequence[SourcePhoto], verdicts: Verdicts, label: str) -> None:
    """Raises UserError naming each class that filtering leaves without two profiles."""
    before: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    why: dict[str, Counter[str]] = {}
    for photo, kind in zip(photos, verdicts.kinds, strict=True):
        if name := photo.columns.get(label):
            before.setdefault(name, set()).add(photo.profile_id)
            kept.setdefault(name, set())
            if kind:
                why.setdefault(name, Counter())[kind] += 1
            else:
                kept[name].add(photo.profile_id)
    lines = []
    for name in sorted(before):
        if len(kept[name]) < LEAST_PROFILES:
            left = ", ".join(f"{count} photos: {kind}" for kind, count in sorted(why.get(name, Counter()).items()))
            lines.append(
                f"{name}: {len(kept[name])} of {len(before[name])} profiles are kept ({left or 'nothing was left out'})"
            )
    if lines:
        remedy = (
            "add photos of it, keep more (such as leave_out.visual_quality=[]), or take its photos out of the source"
        )
        raise UserError("\n  ".join([f"A class needs {LEAST_PROFILES} profiles; {remedy}:", *lines]))
