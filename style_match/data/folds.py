"""Folds: every item is in the test part of one of them; each fold has a validation part of its own."""

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path

from style_match.data.fold_drawing import draw_places, even
from style_match.data.folder import DatasetFolder
from style_match.data.settling import settle, things
from style_match.data.split import Split, as_shares
from style_match.data.stored_split import split_file
from style_match.errors import UserError


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
