"""Who is in train, val and test: drawn once, stored, and only ever added to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from style_match.data.allocation import allocate, fit, split_counts
from style_match.data.connection import Key, across_splits, groups, item_keys, say, say_item
from style_match.data.folder import DatasetFolder
from style_match.data.joining import join
from style_match.data.records import SPLITS, Rejected
from style_match.data.stored_split import read_stored, split_file, write_stored
from style_match.errors import UserError


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
    `check_photos`) a photo's bytes stay together; styles are spread by class. A new split depends on the seed and the
    ids, not on the order of rows. Rows added later never move an old one: connected to one split they join it,
    connecting two they are excluded, the others fill the counts up.

    Args:
        store: the folder of stored splits; `splits` inside the dataset folder when None.

    Raises:
        UserError: a split without items, fewer than 2 for test, a stored file at fault or contradicted by new
            information about old rows, a folder that cannot be written.
    """
    shares = _shares(fractions)
    keys = item_keys(folder)
    if folder.given_splits:
        _refuse_conflicts(folder, keys, folder.given_splits, "the split column", "put connected people into one split")
        split = Split(dict(folder.given_splits), (), folder.couples_file or folder.profiles_file)
        _check_counts(folder, split.name_of, "", fractions)
        return split
    path = split_file(folder, store if store is not None else folder.root / "splits", seed, fractions)
    stored = read_stored(folder, path)
    old = {item: stored[item] for item in keys if item in stored}
    remedy = f"if that is right, delete {path} to draw a new split (its results do not compare with older ones)"
    _refuse_conflicts(folder, keys, old, str(path), remedy)
    joined, refused = join(keys, old)
    placed = old | joined
    free = {item: its_keys for item, its_keys in keys.items() if item not in placed and item not in refused}
    connected = groups(free)
    drawn = _draw(folder, placed, connected, shares, seed)
    settled = placed | drawn
    name_of = {item: settled[item] for item in keys if item not in refused}
    notes = _check_counts(folder, name_of, _largest_group(folder, keys, connected), fractions)
    excluded = tuple(_rejected(folder, item, touched) for item, touched in refused.items())
    if joined or drawn:
        write_stored(folder, path, stored, {**joined, **drawn})
    return Split(name_of, excluded, path, notes)


def _shares(fractions: Sequence[float]) -> tuple[Fraction, ...]:
    # 0.7 is meant as seven tenths and 1/3 as a third, not as the doubles nearest to them
    shares = tuple(Fraction(str(fraction)).limit_denominator(10**6) for fraction in fractions)
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares, Fraction(-1))) > Fraction(1, 10**6):
        raise UserError(f"split.fractions={list(fractions)} must be three numbers from 0 that add up to 1")
    return shares


def _draw(
    folder: DatasetFolder,
    placed: Mapping[str, str],
    connected: Sequence[Sequence[str]],
    shares: Sequence[Fraction],
    seed: int,
) -> dict[str, str]:
    """Splits for the items of `connected`, which have none yet."""
    free = [item for group in connected for item in group]
    class_of = {item: folder.labels.get(item, "") for item in (*placed, *free)}
    totals = Counter(class_of.values())
    wanted = {name: [share * total for share in shares] for name, total in totals.items()}
    for item, split in placed.items():
        wanted[class_of[item]][SPLITS.index(split)] -= 1
    have = Counter(placed.values())
    counts = split_counts(len(placed) + len(free), shares)
    room = fit([count - have[split] for count, split in zip(counts, SPLITS, strict=True)], len(free))
    split_of = allocate(connected, class_of=class_of, wanted=wanted, room=room, seed=seed)
    return {item: SPLITS[j] for item, j in split_of.items()}


def _refuse_conflicts(
    folder: DatasetFolder, keys: Mapping[str, tuple[Key, ...]], name_of: Mapping[str, str], file: str, remedy: str
) -> None:
    known = {item: keys[item] for item in name_of}
    found = across_splits(known, name_of)
    if not found:
        return
    lines = [
        f"{say(key, folder)} connects {say_item(one)} ({name_of[one]}) and {say_item(other)} ({name_of[other]})"
        for key, one, other in found
    ]
    raise UserError("\n  ".join([f"{file} puts connected people into two splits; {remedy}:", *lines]))


def _check_counts(
    folder: DatasetFolder,
    name_of: Mapping[str, str],
    largest_group: str,
    fractions: Sequence[float],
) -> tuple[str, ...]:
    """Notes on counts that are not exact; UserError where a split is empty or test has fewer than 2 items."""
    things = _things(folder)
    have = Counter(name_of.values())
    counts = [have[split] for split in SPLITS]
    written = "/".join(map(str, counts))
    if min(counts) == 0 or counts[2] < 2:
        reason = f" ({largest_group})" if largest_group else ""
        raise UserError(
            f"{folder.root}: {len(name_of)} {things} give train/val/test {written}{reason}; train and val need one, "
            f"test needs two: add {things} or change split.fractions={list(fractions)}"
        )
    exact = split_counts(len(name_of), _shares(fractions))
    if folder.given_splits or counts == exact:
        return ()
    why = largest_group or "stored rows are never moved"
    return (f"train/val/test are {written} {things} where {'/'.join(map(str, exact))} were asked for: {why}.",)


def _largest_group(
    folder: DatasetFolder, keys: Mapping[str, tuple[Key, ...]], connected: Sequence[Sequence[str]]
) -> str:
    """The largest group to be drawn and what holds it together, in words; nothing when all stand alone."""
    group = max(connected, key=len, default=())
    if len(group) < 2:
        return ""
    key, _ = Counter(key for item in group for key in keys[item]).most_common(1)[0]
    held = f"{len(group)} {_things(folder)} of connected people stay together"
    return f"{held}, most of them by {say(key, folder)}"


def _things(folder: DatasetFolder) -> str:
    return "profiles" if folder.task == "style" else "couples"


def _rejected(folder: DatasetFolder, item: str, touched: Mapping[str, tuple[Key, str]]) -> Rejected:
    reason = "connects the splits " + " and ".join(
        f"{split} (by {say(key, folder)}, as {say_item(other)})" for split, (key, other) in touched.items()
    )
    if folder.task == "style" or folder.couples_file is None:
        return Rejected("profile", item, folder.profiles_file.name, folder.photos_of(item)[0].row, reason)
    row = next(couple.row for couple in folder.couples if couple.item_id == item)
    return Rejected("couple", say_item(item), folder.couples_file.name, row, reason)
