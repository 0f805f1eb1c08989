"""Train, val and test: drawn once, stored, and only ever added to."""

import heapq
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from style_match.data.allocation import draw, split_counts
from style_match.data.dataset import PROFILES, DatasetFolder
from style_match.data.people import describe_key, item_keys
from style_match.data.records import MAX_SHOWN, SPLITS, Faults, Rejected, describe_item, nearest
from style_match.data.tables import read_table
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, hold, remove_unfinished, write_whole
from style_match.utils.graph import Key, across_splits, groups
from style_match.utils.text import shown

_REMEDY = "Make the folder writable or set split.store to another."
Keys = Mapping[str, tuple[Key, ...]]  # item -> what connects it with others
Conflict = dict[str, tuple[Key, str]]  # split -> a key that leads there and the item that has it


@dataclass(frozen=True)
class Split:
    """The split of each item: a profile id (styles) or "left_id<tab>right_id" (couples).

    Attributes:
        name_of: item -> "train", "val" or "test".
        excluded: rows left out because they connect two splits.
        path: the file that stores the split.
        notes: sentences for the user about counts that are not exact.
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
    """Return the user's own split column, otherwise the stored split with new rows added, otherwise a new one, stored.

    floor(f0 n) items go to train, floor(f1 n) to val and the rest to test, as far as the sizes of connected groups
    allow. Items that share a profile, a `user_id` or (after `check_photos`) a photo's pixels stay together. Styles are
    spread by class. A new split depends on the seed and the ids, not on the order of rows. Rows added later never move
    an old one: a row connected to one split joins it, a row that connects two is excluded.

    Args:
        folder: a validated dataset folder.
        seed: of the draw.
        fractions: of train, val and test.
        store: the folder of stored splits; `splits` inside the dataset folder when None.

    Raises:
        UserError: a split without items, fewer than 2 for test, a stored file with faults or contradicted by new
            information about old rows, a folder that cannot be written.
    """
    shares = as_shares(fractions)
    if folder.given_splits:
        given = dict(folder.given_splits)
        table, remedy = folder.couples_file or folder.profiles_file, "put connected people into one split"
        refuse_conflicts(folder, item_keys(folder), given, f"The split column of {table.name}", remedy)
        _check_counts(folder, given, "", fractions=fractions)
        return Split(given, (), table)

    def draw_free(placed: Mapping[str, str], connected: Sequence[Sequence[str]]) -> dict[str, str]:
        counts = split_counts(len(placed) + sum(map(len, connected)), shares)
        part_of = {item: SPLITS.index(split) for item, split in placed.items()}
        drawn = draw(part_of, connected, labels=folder.labels, shares=shares, counts=counts, seed=seed)
        return {item: SPLITS[j] for item, j in drawn.items()}

    check = partial(_check_counts, folder, fractions=fractions)
    return stored_split(folder, split_file(folder, store, seed, fractions), ("split",), draw=draw_free, check=check)


def as_shares(fractions: Sequence[float]) -> tuple[Fraction, ...]:
    """Train, val and test of `split.fractions`; UserError if they do not add up to 1."""
    # 0.7 means seven tenths and 1/3 a third, not the doubles nearest to them
    shares = tuple(Fraction(str(fraction)).limit_denominator(10**6) for fraction in fractions)
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares, Fraction(-1))) > Fraction(1, 10**6):
        raise UserError(f"split.fractions={list(fractions)} must be three numbers from 0 that add up to 1")
    return shares


def _check_counts(
    folder: DatasetFolder, name_of: Mapping[str, str], reason: str, *, fractions: Sequence[float]
) -> tuple[str, ...]:
    """Notes on counts that are not exact; UserError if a split is empty or test has fewer than 2 items."""
    have = Counter(name_of.values())
    counts, what = [have[split] for split in SPLITS], item_noun(folder)
    text = "/".join(map(str, counts))
    if min(counts) == 0 or counts[2] < 2:
        remedy = f"Add {what}"
        if folder.given_splits:
            remedy = "Put more rows into these splits, or remove the split column to have a split drawn"
        elif len(name_of) >= 4:
            remedy += f" or change split.fractions={list(fractions)}"
        raise UserError(
            f"{folder.root}: {len(name_of)} {what} give train/val/test {text}{f' ({reason})' if reason else ''}. Train "
            f"and val need at least one, test at least two. {remedy}."
        )
    exact = split_counts(len(name_of), as_shares(fractions))
    if folder.given_splits or counts == exact:
        return ()
    reason = reason or "connected people stay together"
    return (f"train/val/test are {text} {what} instead of {'/'.join(map(str, exact))}: {reason}.",)


def stored_split(
    folder: DatasetFolder,
    path: Path,
    columns: Sequence[str],
    *,
    draw: Callable[[Mapping[str, str], Sequence[Sequence[str]]], dict[str, str]],
    check: Callable[[Mapping[str, str], str], tuple[str, ...]],
    describe: Callable[[str], str] = str,
) -> Split:
    """Read the rows of `path` and add those of new items to the file, one process at a time.

    The values of `Split.name_of` are the words under `columns`, joined by tabs.

    Args:
        columns: of the file, after the ids.
        draw: (item -> words of those in the file, connected groups of the others) -> item -> words of the others.
        check: (item -> words of all, why counts may not be exact) -> notes; raises UserError before anything is stored.
        describe: the words for a message.
    """
    if folder.task == PROFILES:
        raise UserError(
            f"data.task={PROFILES}: profiles without couples or classes cannot be split; set it to couple or style."
        )
    keys = item_keys(folder)

    def complete(stored: Mapping[str, str]) -> tuple[Split, dict[str, str]]:
        old = {item: stored[item] for item in keys if item in stored}
        remedy = f"if that is right, delete {path} to draw a new split (its results do not compare with older ones)"
        refuse_conflicts(folder, keys, old, str(path), remedy, describe)
        joined, conflicts = _join_people(keys, old)
        placed = old | joined
        free = {item: its_keys for item, its_keys in keys.items() if item not in placed and item not in conflicts}
        drawn = draw(placed, groups(free))
        words_of = {item: (placed | drawn)[item] for item in keys if item not in conflicts}
        reasons = [_largest_group(folder, keys), "stored rows are never moved" if old else ""]
        notes = check(words_of, "; ".join(filter(None, reasons)))
        excluded = tuple(_excluded(folder, item, conflict, describe) for item, conflict in conflicts.items())
        return Split(words_of, excluded, path, notes), joined | drawn

    split, new = complete(read_stored(folder, path, columns))
    if new:
        with lock_splits(path.parent):
            stored = read_stored(folder, path, columns)  # another process may have written meanwhile
            split, new = complete(stored)
            items = [*stored.items(), *sorted(new.items())]
            rows = ([*item.split("\t"), *words.split("\t")] for item, words in items)
            write_whole(path, as_csv([*_id_columns(folder), *columns], rows), remedy=_REMEDY)
    return split


def _join_people(keys: Keys, old: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Conflict]]:
    """Place new items that are connected with an old one, directly or through others.

    Returns:
        item -> split, and item -> conflict for items that connect two splits. Earlier rows go first: of a chain between
        two splits, the later row is left out.
    """
    split_of: dict[Key, tuple[str, str]] = {key: (split, item) for item, split in old.items() for key in keys[item]}
    new = [item for item in keys if item not in old]
    order = {item: position for position, item in enumerate(new)}
    with_key: dict[Key, list[str]] = {}
    for item in new:
        for key in keys[item]:
            with_key.setdefault(key, []).append(item)
    queue = [order[item] for item in new if any(key in split_of for key in keys[item])]  # sorted, so a heap
    queued = set(queue)
    joined: dict[str, str] = {}
    conflicts: dict[str, Conflict] = {}
    while queue:
        item = new[heapq.heappop(queue)]
        touched: Conflict = {}
        for key in keys[item]:
            if key in split_of:
                split, other = split_of[key]
                touched.setdefault(split, (key, other))
        if len(touched) > 1:
            conflicts[item] = touched
            continue
        joined[item] = next(iter(touched))
        for key in keys[item]:
            if key not in split_of:
                split_of[key] = (joined[item], item)
                for position in {order[other] for other in with_key[key]} - queued:
                    queued.add(position)
                    heapq.heappush(queue, position)
    return joined, conflicts


def refuse_conflicts(
    folder: DatasetFolder,
    keys: Keys,
    words_of: Mapping[str, str],
    file: str,
    remedy: str,
    describe: Callable[[str], str] = str,
) -> None:
    """Raise UserError if connected items are in two splits."""
    key_of: dict[tuple[str, ...], Key] = {}  # the first of several keys, such as a profile and its photo
    for key, *items in across_splits({item: keys[item] for item in words_of}, words_of):
        key_of.setdefault(tuple(items), key)
    lines = [
        f"{describe_key(key, folder)} connects "
        + " and ".join(f"{describe_item(item)} ({describe(words_of[item])})" for item in items)
        for items, key in key_of.items()
    ]
    if lines:
        raise UserError("\n  ".join([f"{file} puts connected people into two splits; {remedy}:", *lines]))


def item_noun(folder: DatasetFolder) -> str:
    return "couples" if folder.task == "couple" else "profiles"


def _largest_group(folder: DatasetFolder, keys: Keys) -> str:
    """A text about the largest connected group and its most frequent key; "" if no items are connected."""
    group = max(groups(keys), key=len, default=[])
    if len(group) < 2:
        return ""
    key, _ = Counter(key for item in group for key in keys[item]).most_common(1)[0]
    noun = item_noun(folder)
    return f"{len(group)} {noun} of connected people stay together, most of them by {describe_key(key, folder)}"


def _excluded(folder: DatasetFolder, item: str, conflict: Conflict, describe: Callable[[str], str]) -> Rejected:
    reason = "connects the splits " + " and ".join(
        f"{describe(words)} (by {describe_key(key, folder)}, as {describe_item(other)})"
        for words, (key, other) in conflict.items()
    )
    if folder.task == "style" or folder.couples_file is None:
        return Rejected("profile", item, folder.profiles_file.name, folder.photos_of(item)[0].row, reason)
    row = next(couple.row for couple in folder.couples if couple.item_id == item)
    return Rejected("couple", describe_item(item), folder.couples_file.name, row, reason)


def split_file(
    folder: DatasetFolder, store: Path | None, seed: int, fractions: Sequence[float], folds: int | None = None
) -> Path:
    """One file for each task, label column, seed, fractions and number of folds."""
    words = [folder.task, folder.label_column, f"seed{seed}", f"folds{folds}" if folds else None, *map(str, fractions)]
    name = re.sub(r"[^-.\w]", "_", "-".join(filter(None, words)))
    return Path(folder.root / "splits" if store is None else store) / f"{name}.csv"


def read_stored(folder: DatasetFolder, path: Path, columns: Sequence[str]) -> dict[str, str]:
    """Item id -> the words under `columns`, joined by tabs; {} without a file, UserError if it is broken."""
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
            faults.add("occurs twice", **at)
        for column, word in zip(columns, words, strict=True):
            if word not in SPLITS:
                faults.add(f"{shown(word)} is none of {', '.join(SPLITS)}{nearest(word, SPLITS)}", **at, column=column)
        if len(columns) > 1 and words.count("test") != 1:
            faults.add("must be in the test part of exactly one fold", **at)
        stored[item] = "\t".join(words)
    try:
        faults.raise_if_any()
    except UserError as error:
        raise UserError(f"{error}\n  Restore the file, or delete it to draw a new split.") from None
    return stored


def _id_columns(folder: DatasetFolder) -> tuple[str, ...]:
    return (f"{folder.left_name}_id", f"{folder.right_name}_id") if folder.task == "couple" else ("profile_id",)


@contextmanager
def lock_splits(folder: Path) -> Iterator[None]:
    """Lock the splits in `folder` against other processes; UserError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = hold(folder / ".lock", wait=True)
        remove_unfinished(folder)
    except OSError as error:
        raise UserError(f"Cannot store a split in {folder}: {error.strerror}. {_REMEDY}") from error
    assert lock is not None
    with lock:
        yield
