"""Folds: every item is in the test part of exactly one of them; each fold has its own validation part."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from style_match.data.allocation import draw
from style_match.data.dataset import DatasetFolder
from style_match.data.splits import Split, as_shares, item_noun, split_file, stored_split
from style_match.utils.errors import UserError

Groups = Sequence[Sequence[str]]


def make_fold(
    folder: DatasetFolder,
    *,
    folds: int,
    fold: int,
    seed: int,
    fractions: tuple[float, float, float],
    store: Path | None = None,
) -> Split:
    """Return the split of one fold of several, whose test parts are disjoint and together hold every item.

    The sizes of test parts differ by at most one, as far as the sizes of connected groups allow. Of the items outside a
    fold's test part, floor(f1 / (f0 + f1) n) are val and the others train; f2 is not used. All folds are drawn and
    stored together, one row per item with its split in each fold. As in `make_split`, connected people stay together,
    styles are spread by class, only seed and ids matter, and rows added later move nobody.

    Args:
        folder: a validated dataset folder.
        folds: number of folds, at least 2.
        fold: from 0.
        seed: of the draw.
        fractions: of train, val and test.
        store: the folder of stored splits; `splits` inside the dataset folder when None.

    Raises:
        UserError: the user's own split column divides the data; a fold that does not exist, without train or val or
            with fewer than 2 items for test; a stored file with faults or contradicted by new information about old
            rows; a folder that cannot be written.
    """
    noun = item_noun(folder)
    if folder.given_splits:
        raise UserError(f"The split column divides {folder.root}: remove the column or split.folds.")
    if folds < 2:
        raise UserError(f"split.folds={folds}: set it to 2 or more.")
    if not 0 <= fold < folds:
        raise UserError(f"split.fold={fold}: of {folds} folds, choose one from 0 to {folds - 1}.")
    num_items = len(folder.profile_ids if folder.task == "style" else folder.couples)
    if num_items < 2 * folds:
        raise UserError(
            f"split.folds={folds}: {folder.root} has {num_items} {noun} and each test part needs two: use fewer folds "
            f"or add {noun}."
        )
    share = val_share(fractions)

    def draw_free(placed: Mapping[str, str], connected: Groups) -> dict[str, str]:
        words_of = {item: words.split("\t") for item, words in placed.items()}
        drawn = _draw(words_of, connected, labels=folder.labels, folds=folds, share=share, seed=seed)
        return {item: "\t".join(words) for item, words in drawn.items()}

    check = partial(_check_sizes, folder, folds=folds, fold=fold, fractions=fractions)
    path = split_file(folder, store, seed, fractions, folds)
    columns = [f"fold{number}" for number in range(folds)]
    split = stored_split(folder, path, columns, draw=draw_free, check=check, describe=_describe)
    return replace(split, name_of={item: words.split("\t")[fold] for item, words in split.name_of.items()})


def val_share(fractions: Sequence[float]) -> Fraction:
    """The share of val among the items outside the test part."""
    train, val, _ = as_shares(fractions)
    if not train or not val:
        raise UserError(f"split.fractions={list(fractions)}: a fold needs a share for train and one for val")
    return val / (train + val)


def _draw(
    placed: Mapping[str, list[str]],
    connected: Groups,
    *,
    labels: Mapping[str, str],
    folds: int,
    share: Fraction,
    seed: int,
) -> dict[str, list[str]]:
    """The splits in fold 0, 1, ... of each item in `connected`, a group together; `share` is `val_share`."""
    tests = {item: words.index("test") for item, words in placed.items()}
    fold_of = _draw_tests(tests, connected, labels=labels, folds=folds, seed=seed)
    words_of = {item: ["test"] * folds for item in fold_of}
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
            words_of[item][fold] = "val" if j else "train"
    return words_of


def _draw_tests(
    placed: Mapping[str, int], connected: Groups, *, labels: Mapping[str, str], folds: int, seed: int
) -> dict[str, int]:
    """The fold whose test part each item of `connected` is in; sizes are as equal as greedy choices make them.

    Groups that overfill every fold go first, each into the fold with most room. Of the others, the last two folds are
    drawn from all, the two before them from the rest, and so on: each draw has three parts, as train, val and test.
    """
    fold_of: dict[str, int] = {}
    have = Counter(placed.values())
    waiting = sorted(connected, key=lambda group: (-len(group), min(group)))
    while waiting:
        sizes = even([have[fold] for fold in range(folds)], sum(map(len, waiting)))
        emptiest = max(range(folds), key=lambda fold: sizes[fold] - have[fold])
        if len(waiting[0]) <= sizes[emptiest] - have[emptiest]:
            break
        fold_of |= dict.fromkeys(waiting[0], emptiest)
        have[emptiest] += len(waiting.pop(0))
    settled = {**placed, **fold_of}
    left = list(range(folds))
    while len(left) > 1:
        cut = max(len(left) - 2, 1)
        parts = [left[:cut], left[cut : cut + 1], left[cut + 1 :]]
        part_of = {fold: j for j, part in enumerate(parts) for fold in part}
        size_of = dict(zip(left, even([have[fold] for fold in left], sum(map(len, waiting))), strict=True))
        drawn = draw(
            {item: part_of[fold] for item, fold in settled.items() if fold in part_of},
            waiting,
            labels=labels,
            shares=[Fraction(len(part), len(left)) for part in parts],
            counts=[sum(size_of[fold] for fold in part) for part in parts],
            seed=f"{seed}, try 0, fold {left[-1]} of {folds}",
        )
        fold_of |= {item: parts[j][0] for item, j in drawn.items()}
        waiting = [group for group in waiting if drawn[group[0]] == 0]
        left = parts[0]
    return fold_of


def even(have: Sequence[int], free: int) -> list[int]:
    """Sizes of folds that hold `have` after `free` more items have made them as equal as possible."""
    order = sorted(range(len(have)), key=lambda fold: have[fold])
    filled = len(have)
    while sum(have[fold] for fold in order[:filled]) + free < filled * have[order[filled - 1]]:
        filled -= 1  # that fold already holds more than its share
    level, more = divmod(sum(have[fold] for fold in order[:filled]) + free, filled)
    sizes = list(have)
    for rank, fold in enumerate(sorted(order[:filled])):
        sizes[fold] = level + (rank < more)
    return sizes


def _check_sizes(
    folder: DatasetFolder, rows: Mapping[str, str], reason: str, *, folds: int, fold: int, fractions: Sequence[float]
) -> tuple[str, ...]:
    """Notes on sizes that are not exact; UserError if any of the folds cannot be used."""
    noun = item_noun(folder)
    have = [Counter(words.split("\t")[number] for words in rows.values()) for number in range(folds)]
    for number, counts in enumerate(have):
        if not counts["train"] or not counts["val"] or counts["test"] < 2:
            raise UserError(
                f"{folder.root}: {len(rows)} {noun} give fold {number} train/val/test {counts['train']}/"
                f"{counts['val']}/{counts['test']}{f' ({reason})' if reason else ''}; train and val need one, test "
                f"needs two: add {noun}, lower split.folds={folds} or change split.fractions={list(fractions)}"
            )
    notes = []
    tests, equal = [counts["test"] for counts in have], even([0] * folds, len(rows))
    if sorted(tests, reverse=True) != equal:
        sizes, exact_sizes = ("/".join(map(str, each)) for each in (tests, equal))
        notes.append(f"the test parts of the folds have {sizes} {noun} instead of {exact_sizes}: {reason}.")
    exact = int(val_share(fractions) * (len(rows) - tests[fold]))
    if have[fold]["val"] != exact:
        notes.append(f"val of fold {fold} has {have[fold]['val']} {noun} instead of {exact}: {reason}.")
    return tuple(notes)


def _describe(words: str) -> str:
    names = words.split("\t")
    val = [str(fold) for fold, name in enumerate(names) if name == "val"]
    return f"test of fold {names.index('test')}" + (f" and val of fold {' and '.join(val)}" if val else "")
