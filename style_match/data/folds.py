"""Folds: every item is in the test part of one of them; each fold has a validation part of its own."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from style_match.data.allocation import draw
from style_match.data.dataset import DatasetFolder
from style_match.data.splits import Split, as_shares, settle, split_file, things
from style_match.utils.errors import UserError

# Items to folds: test parts as equal as the groups allow, and a validation part for each fold.


_TRIES, _FEW_GROUPS = 20, 200
Words = list[str]  # an item's split in fold 0, in fold 1, ...


def draw_places(
    placed: Mapping[str, Words],
    connected: Sequence[Sequence[str]],
    *,
    labels: Mapping[str, str],
    folds: int,
    share: Fraction,
    seed: int,
) -> dict[str, Words]:
    """Places for the items of `connected`, which have none yet, a group together.

    Args:
        labels: the class of an item, where it has one.
        share: of val among what is not test.
    """
    tests = {item: words.index("test") for item, words in placed.items()}
    fold_of = draw_folds(tests, connected, labels=labels, folds=folds, seed=seed)
    place_of = {item: ["test"] * folds for item in fold_of}
    for fold in range(folds):
        is_val = {item: int(words[fold] == "val") for item, words in placed.items() if words[fold] != "test"}
        outside = [group for group in connected if fold_of[group[0]] != fold]
        total = len(is_val) + sum(map(len, outside))
        drawn = draw(
            is_val,
            outside,
            labels=labels,
            shares=(1 - share, share, Fraction(0)),
            counts=(total - int(share * total), int(share * total), 0),
            seed=f"{seed}, val of fold {fold} of {folds}",
        )
        for item, j in drawn.items():
            place_of[item][fold] = "val" if j else "train"
    return place_of


def draw_folds(
    placed: Mapping[str, int], connected: Sequence[Sequence[str]], *, labels: Mapping[str, str], folds: int, seed: int
) -> dict[str, int]:
    """Item -> the fold whose test part it is in, for the items of `connected`.

    Sizes are as equal as the sizes of groups allow; of few and large groups, as several draws find them.
    """
    large, waiting = _place_large(placed, connected, folds)
    settled = {**placed, **large}
    have = Counter(settled.values())
    best = _spread(even([have[fold] for fold in range(folds)], sum(map(len, waiting))))
    tries = _TRIES if len(waiting) <= _FEW_GROUPS else 1  # many groups are equal at once, or cannot be
    found: dict[str, int] = {}
    least = 0
    for number in range(tries):
        drawn = _part_off(settled, waiting, labels, folds, f"{seed}, try {number}")
        spread = _spread((have + Counter(drawn.values())).values())
        if number == 0 or spread < least:
            found, least = drawn, spread
        if least == best:
            break
    return large | found


def _spread(sizes: Iterable[int]) -> int:
    """The sum of squares: of sizes with one sum, the most equal ones have the least."""
    return sum(size * size for size in sizes)


def _part_off(
    settled: Mapping[str, int], waiting: Sequence[Sequence[str]], labels: Mapping[str, str], folds: int, seed: str
) -> dict[str, int]:
    """The last two of the folds are drawn from all that is there, the two before them from the rest, and so on, so
    that each draw is one into three parts like that of train, val and test."""
    fold_of: dict[str, int] = {}
    have = Counter(settled.values())
    left = list(range(folds))
    while len(left) > 1:
        cut = max(len(left) - 2, 1)
        sides = [left[:cut], left[cut : cut + 1], left[cut + 1 :]]
        side_of = {fold: j for j, side in enumerate(sides) for fold in side}
        sizes = dict(zip(left, even([have[fold] for fold in left], sum(map(len, waiting))), strict=True))
        drawn = draw(
            {item: side_of[fold] for item, fold in settled.items() if fold in side_of},
            waiting,
            labels=labels,
            shares=[Fraction(len(side), len(left)) for side in sides],
            counts=[sum(sizes[fold] for fold in side) for side in sides],
            seed=f"{seed}, fold {left[-1]} of {folds}",
        )
        fold_of |= {item: sides[j][0] for item, j in drawn.items()}
        waiting = [group for group in waiting if drawn[group[0]] == 0]
        left = sides[0]
    return fold_of


def _place_large(
    placed: Mapping[str, int], connected: Sequence[Sequence[str]], folds: int
) -> tuple[dict[str, int], list[Sequence[str]]]:
    """Groups that overfill every fold, each into the fold with most room, and the groups still to be drawn."""
    waiting = sorted(connected, key=lambda group: (-len(group), min(group)))
    fold_of: dict[str, int] = {}
    counts = Counter(placed.values())
    have = [counts[fold] for fold in range(folds)]
    while waiting:
        sizes = even(have, sum(map(len, waiting)))
        room, fold = max((sizes[fold] - have[fold], -fold) for fold in range(folds))
        if len(waiting[0]) <= room:
            break
        group = waiting.pop(0)
        fold_of |= dict.fromkeys(group, -fold)
        have[-fold] += len(group)
    return fold_of, waiting


def even(have: Sequence[int], free: int) -> list[int]:
    """Sizes of folds that hold `have` once `free` more items have made them as equal as they can be."""
    order = sorted(range(len(have)), key=lambda fold: have[fold])
    filled = len(have)
    while sum(have[fold] for fold in order[:filled]) + free < filled * have[order[filled - 1]]:
        filled -= 1  # that fold holds more than its share as it is
    level, more = divmod(sum(have[fold] for fold in order[:filled]) + free, filled)
    sizes = list(have)
    for rank, fold in enumerate(sorted(order[:filled])):
        sizes[fold] = level + (rank < more)
    return sizes


def make_fold(
    folder: DatasetFolder,
    *,
    folds: int,
    fold: int,
    seed: int,
    fractions: tuple[float, float, float],
    store: Path | None = None,
) -> Split:
    """The split of one fold of several, whose test parts are disjoint and together hold every item.

    Test parts are of one size, or of sizes that differ by one, wherever the sizes of connected groups allow. Of the
    items outside a fold's test part, floor(f1 / (f0 + f1) n) are its val and the others its train; f2 is not used.
    All folds are drawn and stored together, one row an item with its split in each fold. As in `make_split`, connected
    people stay together, in test as in val, styles are spread by class, only seed and ids matter, and rows added later
    move nobody: connected to one row they are where it is, connecting rows that differ in any fold they are excluded.

    Args:
        fold: from 0.
        store: the folder of stored splits; `splits` inside the dataset folder when None.

    Raises:
        UserError: the user's own split column divides the data; a fold that is not there, without train or val or with
            fewer than 2 items for test; a stored file at fault or contradicted by new information about old rows; a
            folder that cannot be written.
    """
    if folder.given_splits:
        raise UserError(f"The split column divides {folder.root}: remove the column, or leave split.folds out.")
    if folds < 2:
        raise UserError(f"split.folds={folds}: write 2 or more.")
    if not 0 <= fold < folds:
        raise UserError(f"split.fold={fold}: of {folds} folds, write one from 0 to {folds - 1}.")
    num_items = len(folder.profile_ids if folder.task == "style" else folder.couples)
    if num_items < 2 * folds:
        raise UserError(
            f"split.folds={folds}: {folder.root} has {num_items} {things(folder)} and each test part needs two: write "
            f"fewer folds or add {things(folder)}."
        )
    share = val_share(fractions)
    path = split_file(folder, store, seed, fractions, folds)

    def draw_free(placed: Mapping[str, str], connected: Sequence[Sequence[str]]) -> dict[str, str]:
        known = {item: place.split("\t") for item, place in placed.items()}
        drawn = draw_places(known, connected, labels=folder.labels, folds=folds, share=share, seed=seed)
        return {item: "\t".join(words) for item, words in drawn.items()}

    settled = settle(
        folder,
        path,
        [f"fold{number}" for number in range(folds)],
        draw=draw_free,
        judge=lambda place_of, why: _judge(folder, place_of, why, folds, fold, fractions),
        say_place=_say,
    )
    name_of = {item: place.split("\t")[fold] for item, place in settled.place_of.items()}
    return Split(name_of, settled.excluded, path, settled.notes)


def val_share(fractions: Sequence[float]) -> Fraction:
    """The share of val among what is not test."""
    train, val, _ = as_shares(fractions)
    if not train or not val:
        raise UserError(f"split.fractions={list(fractions)}: a fold needs a share for train and one for val")
    return val / (train + val)


def _judge(
    folder: DatasetFolder,
    place_of: Mapping[str, str],
    why: str,
    folds: int,
    fold: int,
    fractions: Sequence[float],
) -> tuple[str, ...]:
    """Notes on sizes that are not exact; UserError where any of the folds cannot be used."""
    by_fold = list(zip(*(place.split("\t") for place in place_of.values()), strict=True)) or [()] * folds
    have = [Counter(words) for words in by_fold]
    for number, counts in enumerate(have):
        if not counts["train"] or not counts["val"] or counts["test"] < 2:
            reason = f" ({why})" if why else ""
            raise UserError(
                f"{folder.root}: {len(place_of)} {things(folder)} give fold {number} train/val/test "
                f"{counts['train']}/{counts['val']}/{counts['test']}{reason}; train and val need one, test needs two: "
                f"add {things(folder)}, lower split.folds={folds} or change split.fractions={list(fractions)}"
            )
    notes = []
    tests, equal = [counts["test"] for counts in have], even([0] * folds, len(place_of))
    if sorted(tests, reverse=True) != equal:
        sizes, wanted = ("/".join(map(str, each)) for each in (tests, equal))
        notes.append(f"the test parts of the folds are {sizes} {things(folder)} where {wanted} were asked for: {why}.")
    exact = int(val_share(fractions) * (len(place_of) - tests[fold]))
    if have[fold]["val"] != exact:
        notes.append(f"val of fold {fold} is {have[fold]['val']} {things(folder)} where {exact} were asked for: {why}.")
    return tuple(notes)


def _say(place: str) -> str:
    words = place.split("\t")
    val = [str(fold) for fold, word in enumerate(words) if word == "val"]
    return f"test of fold {words.index('test')}" + (f" and val of fold {' and '.join(val)}" if val else "")
