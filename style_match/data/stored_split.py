"""The file a split is kept in."""

import csv
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from style_match.data.faults import Faults
from style_match.data.folder import DatasetFolder
from style_match.data.given_split import read_given_splits
from style_match.data.table import read_table
from style_match.errors import UserError

_MAX_FAULTS_SHOWN = 20


def split_file(folder: DatasetFolder, store: Path, seed: int, fractions: Sequence[float]) -> Path:
    """One file for each task, label column, seed and fractions."""
    words = [folder.task, *([folder.label_column] if folder.label_column else []), f"seed{seed}"]
    name = "-".join([*words, *(str(fraction) for fraction in fractions)])
    return Path(store) / (re.sub(r"[^-.\w]", "_", name) + ".csv")


def read_stored(folder: DatasetFolder, path: Path) -> dict[str, str]:
    """Item id -> split, in the order of the file; {} where there is none yet. Raises UserError for a broken file."""
    if not path.exists():
        return {}
    faults = Faults(path.parent, _MAX_FAULTS_SHOWN)
    columns = _id_columns(folder)
    table = read_table(path.parent, path.stem, ((*columns, "split"),), faults)
    splits = None if table is None else read_given_splits(table, faults, all_three=False)
    stored: dict[str, str] = {}
    if table is not None and splits is not None:
        for row, record in table.records():
            item = "\t".join(record[column] for column in columns)
            if item in stored:
                faults.add("stands there twice", file=path.name, place=table.place(row))
            stored[item] = splits[row]
    try:
        faults.raise_if_any()
    except UserError as error:
        raise UserError(f"{error}\n  Restore the file, or delete it to draw the split anew.") from None
    return stored


def write_stored(folder: DatasetFolder, path: Path, stored: Mapping[str, str], new: Mapping[str, str]) -> None:
    """Writes the stored rows as they were and the new ones, by id, after them; the file is never half written."""
    rows = [*stored.items(), *sorted(new.items())]
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", encoding="utf-8", newline="", delete=False
        ) as file:
            temporary = file.name
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow([*_id_columns(folder), "split"])
            writer.writerows([*item.split("\t"), split] for item, split in rows)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # a temporary file is private, a split is not
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        reason = f"the split cannot be stored ({error.strerror})"
        raise UserError(f"{path}: {reason}; make the folder writable or name another with split.store") from error


def _id_columns(folder: DatasetFolder) -> tuple[str, ...]:
    return ("profile_id",) if folder.task == "style" else (f"{folder.left_name}_id", f"{folder.right_name}_id")
