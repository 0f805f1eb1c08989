"""The file a split is kept in."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from style_match.csvs import as_csv
from style_match.data.faults import MAX_SHOWN, Faults, nearest
from style_match.data.folder import DatasetFolder
from style_match.data.records import SPLITS
from style_match.data.table import read_table
from style_match.errors import UserError
from style_match.files import remove_unfinished, write_whole
from style_match.spelling import shown

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
