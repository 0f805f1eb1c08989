"""Where somebody's data can be, in the order in which it is removed: what is computed from it first, photos last."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from style_match.data.fingerprint import Fingerprints
from style_match.data.memo import Memo
from style_match.data.metadata import FILE_NAME as METADATA
from style_match.data.stored_split import alone
from style_match.errors import UserError
from style_match.features.identity import owner_of
from style_match.features.removal import find_rows, remove_rows
from style_match.files import cache_root, remove_unfinished
from style_match.forgetting.copies import copies, has_pictures
from style_match.forgetting.person import Person
from style_match.forgetting.places import places
from style_match.forgetting.rows import Lines, drop_lines, drop_rows
from style_match.labeler.ledger import FILE_NAME as LEDGER
from style_match.labeler.written import DRY_RUN, FAILED, is_dry_run
from style_match.preparation.inspection import MEMO

LISTS = ("rejected.csv", FAILED)  # of prepare and label: what was left out or failed, and why
PAGES = ("prepared.html", DRY_RUN)


@dataclass(frozen=True)
class Step:
    """One place. `do(dry_run=...)` removes, or only counts, what is there, and may be called again.

    Attributes:
        where: the place, without a word of the person.
        what: is counted.
    """

    where: str
    what: str
    do: Callable[..., int]


def steps(
    person: Person, root: Path, image_root: Path, splits: Iterable[Path], features: Path, fingerprints: Fingerprints
) -> Iterator[Step]:
    """Every place that has files of the dataset folder `root`, its photos, its stored splits and its features."""
    lines = Lines(person.profile_ids, person.images)
    yield Step(str(features), "rows of features", partial(_features, features, person))
    yield Step("indexes", "indexes", partial(_indexes, root, person))
    where = dict(places(person, root, image_root))
    for folder in where:
        if (ledger := folder / LEDGER).is_file():
            yield Step(str(ledger), "answers of the labeler", partial(_ledger, ledger, person))
    tables = sorted(path for path in root.iterdir() if path.suffix in (".csv", ".parquet") and path.name not in LISTS)
    for path in tables:  # couples, and others that tell of profiles
        if path.stem != "profiles":
            yield Step(path.name, "rows", partial(drop_rows, path, lines.has_id))
    for folder, named in where.items():
        if (path := folder / METADATA).is_file():
            yield Step(_said(path, root), "lines", partial(_metadata, path, named))
    for path in tables:
        if path.stem == "profiles":
            yield Step(path.name, "rows", partial(drop_rows, path, lines.has_id))
    for path in sorted({path for folder in splits for path in folder.glob("*.csv")}):
        yield Step(str(path), "rows of a split", partial(_split, path, lines))
    for folder, named in where.items():
        for path in [folder / name for name in LISTS if (folder / name).is_file()]:
            yield Step(_said(path, root), "rows", partial(drop_rows, path, named.mentions))
        for path in [folder / name for name in PAGES]:
            yield Step(_said(path, root), "files", partial(_page, path, named))
    yield Step("photos", "files", partial(_photos, person, root, image_root))
    yield Step("remembered hashes", "entries", partial(fingerprints.forget, [*map(Path, person.paths)], person.sha256))
    yield Step("remembered looks of photos", "entries", partial(_looks, cache_root() / MEMO, person))
    yield Step("unfinished files", "files", partial(_unfinished, [root, root / "splits", root / "photos", *where]))


def _said(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _features(root: Path, person: Person, *, dry_run: bool) -> int:
    owners = {*person.sha256, *map(owner_of, person.stored_ids)}
    found = (find_rows if dry_run else remove_rows)(root, owners, person.addresses)
    return sum(each.rows for each in found)


def _indexes(root: Path, person: Person, *, dry_run: bool) -> int:
    from style_match.index import delete_everywhere, known_indexes

    if dry_run:
        try:
            return sum(known.data_root == root.resolve() for known in known_indexes())
        except UserError:  # it is said by what is left, and ends the removal once all else is done
            return 0
    said = delete_everywhere(root, person.stored_ids)
    if failed := [line for line in said if "NOT deleted" in line]:
        raise UserError("\n".join(["An index still holds the person:", *failed]))
    return len(said)


def _ledger(path: Path, person: Person, *, dry_run: bool) -> int:
    """Answers about photos with these bytes, and the requests they answered."""
    from style_match.labeler.ledger import Ledger

    marks = ", ".join("?" * len(person.sha256))
    where = f"FROM answer WHERE sha256 IN ({marks})"
    with Ledger(path.parent) as held:  # nobody labels meanwhile, and the file is a sound ledger
        try:
            with closing(sqlite3.connect(held.path, isolation_level=None)) as database:
                (count,) = database.execute(f"SELECT count(*) {where}", person.sha256).fetchone()
                if not dry_run:
                    database.execute("PRAGMA secure_delete = ON")
                    database.execute(f"DELETE FROM asked WHERE key IN (SELECT key {where})", person.sha256)
                    database.execute(f"DELETE {where}", person.sha256)
                    database.execute("VACUUM")
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise UserError(f"{path} cannot be changed ({error}): run the same command again.") from error
    return count


def _metadata(path: Path, lines: Lines, *, dry_run: bool) -> int:
    """The labeler, which overwrites nothing written by others, is told that this is its file still."""
    if dry_run or not path.with_name(LEDGER).is_file():
        return drop_lines(path, lines.has_image, dry_run=dry_run)
    from style_match.labeler.ledger import Ledger

    with Ledger(path.parent) as held:

        def note(before: str, after: str) -> None:
            was, will_be = (hashlib.sha256(text.encode()).hexdigest() for text in (before, after))
            if held.has_written(was):
                held.will_write(will_be)

        return drop_lines(path, lines.has_image, dry_run=False, note=note)


def _split(path: Path, lines: Lines, *, dry_run: bool) -> int:
    """Everybody else stays where they are."""
    if dry_run:
        return drop_rows(path, lines.has_id, dry_run=True)
    with alone(path.parent):
        return drop_rows(path, lines.has_id, dry_run=False)


def _page(path: Path, lines: Lines, *, dry_run: bool) -> int:
    """A page that shows pictures may show this person, and the labeler's example is of anybody."""
    if path.name == DRY_RUN:
        is_theirs = is_dry_run(path)  # else it is a photo of that name
    else:
        is_theirs = path.is_file() and (has_pictures(path) or lines.in_file(path))
    if not is_theirs:
        return 0
    if not dry_run:
        path.unlink()
    return 1


def _photos(person: Person, root: Path, image_root: Path, *, dry_run: bool) -> int:
    found = {path for path in map(Path, person.paths) if path.is_file()} | copies(person, (root, image_root))
    for path in () if dry_run else sorted(found):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(
                f"{path} cannot be removed ({error.strerror}): mend that, then the command goes on."
            ) from error
    return len(found)


def _looks(path: Path, person: Person, *, dry_run: bool) -> int:
    """What style_match.prepare remembers of the photos: sizes and perceptual hashes."""
    if not path.is_file():
        return 0
    memo = Memo(path)
    try:
        return memo.count([], person.sha256) if dry_run else memo.remove([], person.sha256)
    finally:
        memo.close()


def _unfinished(folders: Iterable[Path], *, dry_run: bool) -> int:
    """What killed processes left half written."""
    folders = [folder for folder in dict.fromkeys(folders) if folder.is_dir()]
    found = [
        path for folder in folders for path in (*folder.glob(".*.[0-9]*.tmp"), *folder.glob(".style_match_*.jsonl"))
    ]
    if not dry_run:
        for folder in folders:
            remove_unfinished(folder)
        for path in found:
            path.unlink(missing_ok=True)
    return len(found)
