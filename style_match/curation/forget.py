"""`style_match.forget`: find a person, list what the dataset folder, caches and runs hold of them, and delete it."""

import hashlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, ListConfig

from style_match.backbone.feature_key import owner_of
from style_match.backbone.feature_store import remove_rows
from style_match.curation.forgotten import Line, write_forgotten
from style_match.curation.output import STAGING
from style_match.curation.person import Person, Scope, find_person
from style_match.curation.rows import PersonNames, drop_lines, drop_rows
from style_match.curation.run_traces import files_about, has_photos, logger_folders, option, trained_on, uses_dataset
from style_match.data.metadata import FILE_NAME as METADATA
from style_match.data.records import JOURNAL
from style_match.data.splits import lock_splits
from style_match.labeling.ledger import FILE_NAME as LEDGER
from style_match.labeling.ledger import Ledger
from style_match.labeling.outputs import DRY_RUN, FAILED, is_dry_run
from style_match.serving.index.folder import absent, delete_everywhere, known_indexes
from style_match.serving.web.running import running_apps
from style_match.utils.errors import UserError
from style_match.utils.files import UNFINISHED, write_whole
from style_match.utils.text import plain

_LISTS = ("rejected.csv", FAILED)  # written by prepare and label: rows left out or failed, with the reason
_PAGES = ("prepared.html", DRY_RUN)


def forget(cfg: DictConfig) -> None:
    """Print what is known of a person; without `dry_run`, delete it and append to forgotten.json.

    Every place can be cleaned again without harm. If the command is killed or a place fails, the same command finishes.

    Args:
        cfg: conf/forget.yaml.

    Raises:
        UserError: a wrong option, a profile that does not exist, an unreadable table, another person's removal is
            unfinished, or a place from which the person could not be removed (all others are done).
    """
    scope, requested = Scope.from_config(cfg), _ids(cfg.profile)
    # It exists from before the first removal to after the last, and knows what may be deleted already. Meanwhile
    # running apps answer nothing and `prepare` refuses the folder, as both would write the person back.
    journal = scope.root / JOURNAL
    if journal.exists():
        person = Person.from_json(journal.read_text(encoding="utf-8"))
        if {*person.requested} != {*requested}:
            ids = ",".join(person.requested)
            raise UserError(
                f"{scope.root}: the removal of profile=[{ids}] was interrupted. Run that command again first."
            )
    else:
        person = find_person(scope, requested, near_copies=cfg.near_copies)
    places = [*_places(person, scope, runs_too=cfg.runs_too)]
    lines = [(each.name, each.unit, each.remove(dry_run=True)) for each in places]
    lines = [line for line in lines if line[2]]
    trained = [str(folder) for folder in trained_on(person.seen_names, scope.runs)]
    if not cfg.dry_run:
        write_whole(journal, json.dumps(asdict(person), default=str))
        failures = []
        for place in places:
            try:
                place.remove(dry_run=False)
            except UserError as error:
                failures.append(str(error))
        if failures:
            remedy = "Everything else was removed. Fix this and run the same command again."
            raise UserError("\n".join([*failures, remedy]))
    not_removed = _not_removed(person, scope, runs_too=cfg.runs_too)
    _print(person, scope.root, "would be removed" if cfg.dry_run else "removed", lines, trained, not_removed)
    if cfg.dry_run:
        print("dry_run=true: nothing was removed")
    else:
        path = write_forgotten(scope.root, person.profile_ids, lines, trained=trained, not_removed=not_removed)
        journal.unlink()
        print(f"written: {path}")


def _ids(value: Any) -> list[str]:
    given = list(value) if isinstance(value, ListConfig | list) else [value]
    for each in given:
        if not isinstance(each, str) or not plain(each):  # YAML reads an unquoted 1_2 as the number 12
            raise UserError(f"profile={each} is not an id. In a YAML file, write ids in quotes.")
    return list(dict.fromkeys(map(plain, given)))


# The places, in the order in which they are cleaned.


class Place(NamedTuple):
    """`remove(dry_run=...)` deletes what a place holds of the person, or only counts it. `name` names no person."""

    name: str
    unit: str
    remove: Callable[..., int]


def _places(person: Person, scope: Scope, *, runs_too: bool) -> Iterator[Place]:
    root, names = scope.root, person.names
    labels = dict(_label_folders(person, scope))
    yield Place(str(scope.features), "rows of features", partial(_features, scope.features, person))
    yield Place("indexes", "indexes", partial(_indexes, root, names))
    for folder in labels:
        if (path := folder / LEDGER).is_file():
            yield Place(str(path), "answers of the labeler", partial(_answers, path, person))
    yield Place("remembered hashes", "entries", partial(scope.fingerprints.forget, person.files, person.sha256))
    for path in files_about(names, person.dataset_runs, scope.runs) if runs_too else ():
        yield Place(str(path), "files", partial(_delete, [path]))
    for folder, named in labels.items():
        if (path := folder / METADATA).is_file():
            yield Place(_name(path, root), "lines", partial(_metadata, path, named))
        for path in (folder / name for name in _LISTS if (folder / name).is_file()):
            yield Place(_name(path, root), "rows", partial(drop_rows, path, named.in_list))
        pages = [path for name in _PAGES if _may_show(path := folder / name, named)]
        for path in pages:
            yield Place(_name(path, root), "files", partial(_delete, [path]))
    for store in sorted(_split_stores(scope)):
        for path in sorted(store.glob("*.csv")):
            yield Place(str(path), "rows of a split", partial(_split, path, names))
    unfinished = [path for each in (root, root / "splits", root / "photos", *labels) for path in each.glob(UNFINISHED)]
    unfinished += [path for path in (root / STAGING).rglob("*") if path.is_file()]  # of a `prepare` that was killed
    yield Place("unfinished files", "files", partial(_delete, unfinished))
    yield Place("photos", "files", partial(_delete, person.files))
    tables = [path for path in root.iterdir() if path.suffix in (".csv", ".parquet") and path.name not in _LISTS]
    for path in sorted(tables, key=lambda path: (path.stem == "profiles", path.name)):
        yield Place(path.name, "rows", partial(drop_rows, path, names.in_row))


def _label_folders(person: Person, scope: Scope) -> Iterator[tuple[Path, PersonNames]]:
    """Yield each folder that may hold files of the labeler, with the names of the person's photos in these files."""
    tops, files = list(dict.fromkeys((scope.root, scope.image_root))), person.files
    folders = {parent for path in files for parent in path.parents if any(parent.is_relative_to(top) for top in tops)}
    folders |= {path.parent for top in tops for path in top.rglob(LEDGER)}
    for folder in [*tops, *sorted(folders - {*tops})]:
        base = folder
        if (folder / LEDGER).is_file():
            with Ledger(folder) as ledger:
                base = Path(os.path.normpath(folder / (ledger.note("images") or "")))
        names = {path.relative_to(base).as_posix() for path in files if path.is_relative_to(base)}
        yield folder, PersonNames(person.profile_ids, person.images if base == scope.root else names)


def _split_stores(scope: Scope) -> set[Path]:
    configs = [config for config in scope.configs.values() if uses_dataset(config, scope.root)]
    stores = {option(config, "split", "store") for config in configs}
    return {scope.root / "splits"} | {Path(each).expanduser() for each in stores if each and isinstance(each, str)}


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _features(root: Path, person: Person, *, dry_run: bool) -> int:
    owners = {*person.sha256, *map(owner_of, person.names.stored_ids)}
    return remove_rows(root, owners, dry_run=dry_run)


def _indexes(root: Path, names: PersonNames, *, dry_run: bool) -> int:
    if dry_run:
        try:
            return sum(known.data_root == root.resolve() for known in known_indexes())
        except UserError:  # listed as not removed; it does not keep the other places from being cleaned
            return 0
    results = delete_everywhere(root, names.stored_ids)
    if failures := [line for line in results if "NOT deleted" in line]:
        raise UserError("\n".join(["An index still holds the person:", *failures]))
    return len(results)


def _answers(path: Path, person: Person, *, dry_run: bool) -> int:
    """Delete the labeler's answers about photos with these bytes, and the requests for them."""
    where = f"FROM answer WHERE sha256 IN ({', '.join('?' * len(person.sha256))})"
    with Ledger(path.parent):  # locks the folder and checks the file
        try:
            with closing(sqlite3.connect(path, isolation_level=None)) as database:
                (count,) = database.execute(f"SELECT count(*) {where}", person.sha256).fetchone()
                if not dry_run:
                    database.execute("PRAGMA secure_delete = ON")
                    database.execute(f"DELETE FROM asked WHERE key IN (SELECT key {where})", person.sha256)
                    database.execute(f"DELETE {where}", person.sha256)
                    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            raise UserError(f"Cannot change {path}: {error}. Run the same command again.") from error
    return int(count)


def _metadata(path: Path, names: PersonNames, *, dry_run: bool) -> int:
    """Delete lines of metadata.jsonl; the ledger gets the new hash, so that the labeler may still replace the file."""
    if dry_run or not path.with_name(LEDGER).is_file():
        return drop_lines(path, names.in_metadata, dry_run=dry_run)
    with Ledger(path.parent) as ledger:
        is_theirs = ledger.has_written(hashlib.sha256(path.read_bytes()).hexdigest())
        count = drop_lines(path, names.in_metadata, dry_run=False)
        if is_theirs:
            ledger.will_write(hashlib.sha256(path.read_bytes()).hexdigest())
    return count


def _split(path: Path, names: PersonNames, *, dry_run: bool) -> int:
    if dry_run:
        return drop_rows(path, names.in_row, dry_run=True)
    with lock_splits(path.parent):
        return drop_rows(path, names.in_row, dry_run=False)


def _may_show(path: Path, names: PersonNames) -> bool:
    """Whether a page mentions the person or embeds photos, or a picture is the example of a labeler's dry run."""
    if path.name == DRY_RUN:
        return is_dry_run(path)
    return path.is_file() and (has_photos(path) or names.in_file(path))


def _delete(paths: Iterable[Path], *, dry_run: bool) -> int:
    existing = [path for path in paths if os.path.lexists(path)]
    for path in () if dry_run else existing:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise UserError(f"Cannot delete {path}: {error.strerror}. Check its permissions.") from error
    return len(existing)


# What is printed.


def _not_removed(person: Person, scope: Scope, *, runs_too: bool) -> list[str]:
    """Return sentences about what is left, in words that do not name the person."""
    left = [] if runs_too else files_about(person.names, person.dataset_runs, scope.runs)
    texts = [f"{path}: holds the person; runs_too=true removes it" for path in left]
    loggers = logger_folders(person.dataset_runs, scope.configs)
    texts += [f"{path}: pictures for a logger that may show the person" for path in loggers]
    try:
        texts += [f"index {line}" for line in absent(scope.root)]
    except UserError as error:
        texts.append(str(error))
    if (scope.root / "prepared.json").is_file():
        texts.append(
            "the source named in prepared.json: run forget there if it has a profiles.csv. Otherwise delete the photo, "
            "its line of metadata.jsonl and labels.sqlite there. prepare skips the forgotten id, but not the photo "
            "under another id"
        )
    return texts


def _print(
    person: Person, root: Path, title: str, lines: Sequence[Line], trained: Sequence[str], not_removed: Sequence[str]
) -> None:
    print(f"profile {', '.join(person.profile_ids)} of {root}")
    for note in person.notes:
        print(f"note: {note}")
    print(f"{title}:")
    for place, unit, count in lines:
        print(f"  {place}: {count} {unit}")
    for app in running_apps(root):
        print(f"running app: {app} shows this folder and reads it again before its next answer")
    print(f"trained or selected on them: {len(trained)} runs and matchers (not removed; train them again)")
    for folder in trained:
        print(f"  {folder}")
    for text in not_removed:
        print(f"not removed: {text}")
