"""Who is in train, val and test: drawn once, stored, and only ever added to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from style_match.data.allocation import draw, split_counts
from style_match.data.folder import DatasetFolder
from style_match.data.people import item_keys
from style_match.data.records import SPLITS, Rejected
from style_match.data.settling import refuse_conflicts, settle, things
from style_match.data.stored_split import split_file
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
