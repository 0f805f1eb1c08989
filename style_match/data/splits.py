"""Who is in train, val and test: drawn once, stored, and only ever added to."""

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from style_match.data.allocation import draw, split_counts
from style_match.data.dataset import PROFILES, DatasetFolder
from style_match.data.people import describe_item, describe_key, item_keys
from style_match.data.records import MAX_SHOWN, SPLITS, Faults, Rejected, nearest
from style_match.data.tables import read_table
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, remove_unfinished, write_whole
from style_match.utils.graph import Key, across_splits, groups
from style_match.utils.text import shown

# The `split` column of a table, where the user divides the data.


# New rows that belong to people whose split is already settled.


Touched = dict[str, tuple[Key, str]]  # split -> the key that leads there and an item of that split


def join(keys: Mapping[str, tuple[Key, ...]], old: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Touched]]:
    """New items that follow an old one, directly or through others: ({item: split}, {item: the splits it touches}).

    An item of the second kind connects two splits and can be in neither. Earlier rows go first, so of a chain between
    two splits it is the later row that is left out.
    """
    split_of: dict[Key, tuple[str, str]] = {key: (split, item) for item, split in old.items() for key in keys[item]}
    order = {item: position for position, item in enumerate(keys)}
    new = [item for item in keys if item not in old]
    with_key: dict[Key, list[str]] = {}
    for item in new:
        for key in keys[item]:
            with_key.setdefault(key, []).append(item)
    waiting = [(order[item], item) for item in new if any(key in split_of for key in keys[item])]
    heapq.heapify(waiting)
    queued = {item for _, item in waiting}
    joined: dict[str, str] = {}
    refused: dict[str, Touched] = {}
    while waiting:
        _, item = heapq.heappop(waiting)
        touched: Touched = {}
        for key in keys[item]:
            if key in split_of:
                split, other = split_of[key]
                touched.setdefault(split, (key, other))
        if len(touched) > 1:
            refused[item] = touched
            continue
        joined[item] = next(iter(touched))
        for key in keys[item]:
            if key in split_of:
                continue
            split_of[key] = (joined[item], item)
            for neighbour in with_key[key]:
                if neighbour not in queued:
                    queued.add(neighbour)
                    heapq.heappush(waiting, (order[neighbour], neighbour))
    return joined, refused


# The file a split is kept in.


_REMEDY = "Make the folder writable or name another with split.store."


def split_file(
    folder: DatasetFolder, store: Path | None, seed: int, fractions: Sequence[float], folds: int | None = None
) -> Path:
    """One file for each task, label column, seed, fractions and, where there are any, number of folds."""
    words = [folder.task, *([folder.label_column] if folder.label_column else []), f"seed{seed}"]
    words += [f"folds{folds}"] if folds else []
    name = "-".join([*words, *(str(fraction) for fraction in fractions)])
    return Path(store if store is not None else folder.root / "splits") / (re.sub(r"[^-.\w]", "_", name) + ".csv")


def read_stored(folder: DatasetFolder, path: Path, columns: Sequence[str]) -> dict[str, str]:
    """Item id -> the words under `columns`, a tab between them, in the order of the file; {} where there is none yet.

    Raises:
        UserError: a broken file.
    """
    if not path.exists():
        return {}
    faults = Faults(path.parent, MAX_SHOWN)
    ids = _id_columns(folder)
    table = read_table(path.parent, path.stem, ((*ids, *columns),), faults)
    stored: dict[str, str] = {}
    for row, record in table.records() if table else ():
        at = {"file": path.name, "place": f"line {row}"}
        item, words = "\t".join(record[column] for column in ids), [record[column] for column in columns]
        if item in stored:
            faults.add("stands there twice", **at)
        for column, word in zip(columns, words, strict=True):
            if word not in SPLITS:
                faults.add(f"{shown(word)} is none of {', '.join(SPLITS)}{nearest(word, SPLITS)}", **at, column=column)
        if len(columns) > 1 and words.count("test") != 1:
            faults.add("is in the test part of one fold, no more and no less", **at)
        stored[item] = "\t".join(words)
    try:
        faults.raise_if_any()
    except UserError as error:
        raise UserError(f"{error}\n  Restore the file, or delete it to draw the split anew.") from None
    return stored


def write_stored(
    folder: DatasetFolder, path: Path, columns: Sequence[str], stored: Mapping[str, str], new: Mapping[str, str]
) -> None:
    """Writes the stored rows as they were and the new ones, by id, after them; the file is never half written."""
    rows = ([*item.split("\t"), *words.split("\t")] for item, words in [*stored.items(), *sorted(new.items())])
    write_whole(path, as_csv([*_id_columns(folder), *columns], rows), remedy=_REMEDY)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While inside, no other process adds to the splits in `folder`, which is made if need be.

    The operating system lets go of a killed process's lock; what it left half written is removed here.

    Raises:
        UserError: the folder cannot be written or locked.
    """
    import fcntl

    with ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(folder / ".lock", "a"))
            fcntl.flock(file, fcntl.LOCK_EX)
            remove_unfinished(folder)
        except OSError as error:
            raise UserError(f"Cannot store a split in {folder}: {error.strerror}. {_REMEDY}") from error
        yield


def _id_columns(folder: DatasetFolder) -> tuple[str, ...]:
    return (f"{folder.left_name}_id", f"{folder.right_name}_id") if folder.task == "couple" else ("profile_id",)


# What all stored splits have in common: stored rows stay, new ones follow their people or are drawn.


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
        f"{describe_key(key, folder)} connects {describe_item(one)} ({say_place(place_of[one])}) "
        f"and {describe_item(other)} ({say_place(place_of[other])})"
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
    return f"{held}, most of them by {describe_key(key, folder)}"


def _rejected(folder: DatasetFolder, item: str, touched: Touched, say_place: Say) -> Rejected:
    reason = "connects the splits " + " and ".join(
        f"{say_place(place)} (by {describe_key(key, folder)}, as {describe_item(other)})"
        for place, (key, other) in touched.items()
    )
    if folder.task == "style" or folder.couples_file is None:
        return Rejected("profile", item, folder.profiles_file.name, folder.photos_of(item)[0].row, reason)
    row = next(couple.row for couple in folder.couples if couple.item_id == item)
    return Rejected("couple", describe_item(item), folder.couples_file.name, row, reason)


@dataclass(frozen=True)
class Split:
    """Item id -> "train", "val" or "test"; items are profiles (styles) or "left_id<tab>right_id" (couples).

    Attributes:
        excluded: rows left out because they connect two splits.
        path: the file that says so.
        notes: sentences for the user, where the counts are not the exact ones.
    """

    name_of: dict[str, str]
    excluded: tuple[Rejected, ...]
    path: Path
    notes: tuple[str, ...] = ()

    def items(self, name: str) -> tuple[str, ...]:
        """The items of one split, in the order of their table."""
        return tuple(item for item, split in self.name_of.items() if split == name)


def make_split(
    folder: DatasetFolder, *, seed: int, fractions: tuple[float, float, float], store: Path | None = None
) -> Split:
    """The user's own split column, else the stored split with new rows added, else a new split, stored.

    Exactly floor(f0 n) items go to train, floor(f1 n) to val and the rest to test wherever the sizes of connected
    groups allow, else the nearest counts, told in `notes`. Items that share a profile, a `user_id` or (after
    `check_photos`) a photo's pixels stay together; styles are spread by class. A new split depends on the seed and the
    ids, not on the order of rows. Rows added later never move an old one: connected to one split they join it,
    connecting two they are excluded, the others fill the counts up.

    Args:
        store: the folder of stored splits; `splits` inside the dataset folder when None.

    Raises:
        UserError: a split without items, fewer than 2 for test, a stored file at fault or contradicted by new
            information about old rows, a folder that cannot be written.
    """
    shares = as_shares(fractions)
    if folder.given_splits:
        given = dict(folder.given_splits)
        refuse_conflicts(folder, item_keys(folder), given, "the split column", "put connected people into one split")
        _check_counts(folder, given, "", fractions)
        return Split(given, (), folder.couples_file or folder.profiles_file)

    def draw_free(placed: Mapping[str, str], connected: Sequence[Sequence[str]]) -> dict[str, str]:
        counts = split_counts(len(placed) + sum(map(len, connected)), shares)
        known = {item: SPLITS.index(split) for item, split in placed.items()}
        drawn = draw(known, connected, labels=folder.labels, shares=shares, counts=counts, seed=seed)
        return {item: SPLITS[j] for item, j in drawn.items()}

    path = split_file(folder, store, seed, fractions)
    settled = settle(
        folder,
        path,
        ("split",),
        draw=draw_free,
        judge=lambda name_of, why: _check_counts(folder, name_of, why, fractions),
    )
    return Split(settled.place_of, settled.excluded, path, settled.notes)


def as_shares(fractions: Sequence[float]) -> tuple[Fraction, ...]:
    """Train, val and test of `split.fractions`; UserError where they are no parts of a whole."""
    # 0.7 is meant as seven tenths and 1/3 as a third, not as the doubles nearest to them
    shares = tuple(Fraction(str(fraction)).limit_denominator(10**6) for fraction in fractions)
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares, Fraction(-1))) > Fraction(1, 10**6):
        raise UserError(f"split.fractions={list(fractions)} must be three numbers from 0 that add up to 1")
    return shares


def _check_counts(
    folder: DatasetFolder,
    name_of: Mapping[str, str],
    why: str,
    fractions: Sequence[float],
) -> tuple[str, ...]:
    """Notes on counts that are not exact; UserError where a split is empty or test has fewer than 2 items."""
    have = Counter(name_of.values())
    counts = [have[split] for split in SPLITS]
    written = "/".join(map(str, counts))
    if min(counts) == 0 or counts[2] < 2:
        reason = f" ({why})" if why else ""
        raise UserError(
            f"{folder.root}: {len(name_of)} {things(folder)} give train/val/test {written}{reason}; train and val need "
            f"one, test needs two: add {things(folder)} or change split.fractions={list(fractions)}"
        )
    exact = split_counts(len(name_of), as_shares(fractions))
    if folder.given_splits or counts == exact:
        return ()
    wanted = "/".join(map(str, exact))
    return (f"train/val/test are {written} {things(folder)} where {wanted} were asked for: {why}.",)
