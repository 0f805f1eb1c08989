"""What all stored splits have in common: stored rows stay, new ones follow their people or are drawn."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from style_match.data.connection import Key, across_splits, groups
from style_match.data.folder import PROFILES, DatasetFolder
from style_match.data.joining import Touched, join
from style_match.data.people import item_keys, say, say_item
from style_match.data.records import Rejected
from style_match.data.stored_split import alone, read_stored, write_stored
from style_match.errors import UserError

Say = Callable[[str], str]  # a place, as the file has it, in words


@dataclass(frozen=True)
class Settled:
    """Where the items are, and what is said about it.

    Attributes:
        place_of: item -> the words of its row in the file, a tab between them; in the order of the items' table.
        excluded: rows left out because they connect two places.
        notes: from `judge`.
    """

    place_of: dict[str, str]
    excluded: tuple[Rejected, ...]
    notes: tuple[str, ...]


def settle(
    folder: DatasetFolder,
    path: Path,
    columns: Sequence[str],
    *,
    draw: Callable[[Mapping[str, str], Sequence[Sequence[str]]], dict[str, str]],
    judge: Callable[[Mapping[str, str], str], tuple[str, ...]],
    say_place: Say = str,
) -> Settled:
    """The rows of `path` with those of new items, which are added to the file; a process at a time.

    Args:
        columns: of the file, after the ids.
        draw: (item -> place of those that have one, connected groups of the others) -> item -> place of the others.
        judge: (item -> place of all, why they may not be where they should, in words) -> notes; raises UserError for a
            division that cannot be used, of which nothing is stored.
    Raises:
        UserError: a stored file at fault or contradicted by new information about old rows, a folder that cannot be
            written.
    """
    if folder.task == PROFILES:
        raise UserError(f"data.task={PROFILES}: profiles alone are not divided into splits; write couple or style.")
    keys = item_keys(folder)

    def once() -> tuple[Settled, dict[str, str], dict[str, str]]:
        stored = read_stored(folder, path, columns)
        old = {item: stored[item] for item in keys if item in stored}
        remedy = f"if that is right, delete {path} to draw a new split (its results do not compare with older ones)"
        refuse_conflicts(folder, keys, old, str(path), remedy, say_place)
        joined, refused = join(keys, old)
        placed = old | joined
        free = {item: its_keys for item, its_keys in keys.items() if item not in placed and item not in refused}
        connected = groups(free)
        drawn = draw(placed, connected)
        settled = placed | drawn
        place_of = {item: settled[item] for item in keys if item not in refused}
        reasons = [_largest_group(folder, keys), "stored rows are never moved" if old else ""]
        notes = judge(place_of, "; ".join(filter(None, reasons)))
        excluded = tuple(_rejected(folder, item, touched, say_place) for item, touched in refused.items())
        return Settled(place_of, excluded, notes), stored, joined | drawn

    settled, stored, new = once()
    if new:
        with alone(path.parent):
            if read_stored(folder, path, columns) != stored:  # another process was faster
                settled, stored, new = once()
            if new:
                write_stored(folder, path, columns, stored, new)
    return settled


def refuse_conflicts(
    folder: DatasetFolder,
    keys: Mapping[str, tuple[Key, ...]],
    place_of: Mapping[str, str],
    file: str,
    remedy: str,
    say_place: Say = str,
) -> None:
    """Raises UserError where connected items stand in two places."""
    found = across_splits({item: keys[item] for item in place_of}, place_of)
    if not found:
        return
    lines = [
        f"{say(key, folder)} connects {say_item(one)} ({say_place(place_of[one])}) "
        f"and {say_item(other)} ({say_place(place_of[other])})"
        for key, one, other in found
    ]
    raise UserError("\n  ".join([f"{file} puts connected people into two splits; {remedy}:", *lines]))


def things(folder: DatasetFolder) -> str:
    """What is divided."""
    return "couples" if folder.task == "couple" else "profiles"


def _largest_group(folder: DatasetFolder, keys: Mapping[str, tuple[Key, ...]]) -> str:
    """The largest group and what holds it together, in words; nothing when all stand alone."""
    group = max(groups(keys), key=len, default=[])
    if len(group) < 2:
        return ""
    key, _ = Counter(key for item in group for key in keys[item]).most_common(1)[0]
    held = f"{len(group)} {things(folder)} of connected people stay together"
    return f"{held}, most of them by {say(key, folder)}"


def _rejected(folder: DatasetFolder, item: str, touched: Touched, say_place: Say) -> Rejected:
    reason = "connects the splits " + " and ".join(
        f"{say_place(place)} (by {say(key, folder)}, as {say_item(other)})" for place, (key, other) in touched.items()
    )
    if folder.task == "style" or folder.couples_file is None:
        return Rejected("profile", item, folder.profiles_file.name, folder.photos_of(item)[0].row, reason)
    row = next(couple.row for couple in folder.couples if couple.item_id == item)
    return Rejected("couple", say_item(item), folder.couples_file.name, row, reason)
