"""From a source to a prepared folder, in one pass that can be repeated."""

import csv
import hashlib
import io
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match.curation import duplicates as copies
from style_match.curation import labels
from style_match.curation.duplicates import MEMO, Facts, Inspector
from style_match.curation.forgotten import Journal, forgotten_among
from style_match.curation.labels import Labelled, attributes_of, check_filters, left_out_by
from style_match.curation.sources import (
    OWN_COLUMNS,
    Columns,
    Source,
    SourcePhoto,
    classes_of,
    file_stems,
    read_source,
    to_split,
)
from style_match.data import profiles as classes
from style_match.data.dataset import DatasetFolder, read_folder, write_rejected
from style_match.data.fingerprints import Fingerprints
from style_match.data.images import said_faults
from style_match.data.profiles import SIDES, Profiles, read_couples
from style_match.data.records import LEFT_OUT, SPLITS, Faults, nearest
from style_match.data.splits import Split, make_split
from style_match.data.tables import Table, read_table
from style_match.synthetic.dataset import is_synthetic
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, cache_root, hold, read_cell, remove_unfinished, write_whole
from style_match.utils.progress import bar

# Which photos are left out, and the one reason given for each.


UNDECODABLE, TWICE = "cannot be decoded", "same file twice"  # photos that are not copied to the folder either
LEAST_PROFILES = 2  # of a class: one to ask with, one to be found


@dataclass(frozen=True)
class Verdicts:
    """By position of the photo. `kinds` are short words for counting, "" where the photo is kept.

    Attributes:
        groups: profile id -> name of its group of copies.
        pairs: of copies and near copies, found among all photos.
    """

    reasons: list[str]
    kinds: list[str]
    groups: dict[str, str]
    pairs: list[copies.Pair]

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(kind for kind in self.kinds if kind).items()))


def judge(
    photos: Sequence[SourcePhoto],
    facts: Sequence[Facts],
    *,
    leave_out: Mapping[str, Sequence[str]],
    min_side_px: int | None,
    label: str | None,
    duplicates: Mapping[str, Any],
    settled: Mapping[str, str],
    show: bool,
) -> Verdicts:
    """A reason for each photo that is left out.

    Args:
        leave_out: attribute -> values.
        duplicates: the node of the config.
        settled: see `copies.group`.
        show: whether progress may be shown.
    """
    owners = [photo.profile_id for photo in photos]
    with bar("comparing photos", "photos", show=show) as advance:
        pairs = copies.find_pairs(facts, duplicates, advance)
    groups, bridges = copies.group(owners, pairs, settled)
    twin = {later: first for first, later in _twins(photos, facts)}
    verdicts = Verdicts([""] * len(photos), [""] * len(photos), groups, pairs)
    for place, (photo, its) in enumerate(zip(photos, facts, strict=True)):
        unwanted = left_out_by(photo.columns, leave_out)
        kind, reason = "", ""
        if given := photo.columns.get(LEFT_OUT):
            kind, reason = "left out by the source", given
        elif its.fault:
            kind, reason = UNDECODABLE, its.fault
        elif place in twin:
            kind, reason = TWICE, f"the same bytes as {photos[twin[place]].image} of the same profile"
        elif min_side_px is not None and min(its.width, its.height) < min_side_px:
            kind, reason = "too small", f"{its.width} x {its.height} pixels, a side below min_side_px={min_side_px}"
        elif unwanted:
            kind = reason = unwanted
        elif label is not None and not photo.columns.get(label):
            kind, reason = f"no {label}", f"no {label} in the table or in metadata.jsonl"
        elif place in bridges:
            kind = "copy of two"
            reason = f"a copy of photos of profiles that are in no one group already, {bridges[place]} among them"
        verdicts.kinds[place], verdicts.reasons[place] = kind, reason
    if duplicates["across_splits"] == "leave_out":
        _part(photos, verdicts)
    return verdicts


def _twins(photos: Sequence[SourcePhoto], facts: Sequence[Facts]) -> list[copies.Pair]:
    """(first, later) photos of one profile with the same bytes."""
    return copies.equal([f"{each.sha256} {photo.profile_id}" for photo, each in zip(photos, facts, strict=True)])


def _part(photos: Sequence[SourcePhoto], verdicts: Verdicts) -> None:
    """Where the source's own splits part copies, those in test stay, else those in val; the others are left out."""
    members: dict[str, list[int]] = {}
    for place, photo in enumerate(photos):
        name = verdicts.groups.get(photo.profile_id)
        if name and not verdicts.kinds[place] and photo.columns.get("split") in SPLITS:
            members.setdefault(name, []).append(place)
    for places in members.values():
        last = max((photos[place].columns["split"] for place in places), key=SPLITS.index)
        stays = next(photos[place].profile_id for place in places if photos[place].columns["split"] == last)
        for place in places:
            if photos[place].columns["split"] != last:
                verdicts.kinds[place] = "copy in another split"
                verdicts.reasons[place] = f"a copy or near copy of {stays}, which is in {last}"


def refuse_empty_classes(photos: Sequence[SourcePhoto], verdicts: Verdicts, label: str) -> None:
    """Raises UserError naming each class that filtering leaves without two profiles."""
    before: dict[str, set[str]] = {}
    kept: dict[str, set[str]] = {}
    why: dict[str, Counter[str]] = {}
    for photo, kind in zip(photos, verdicts.kinds, strict=True):
        if name := photo.columns.get(label):
            before.setdefault(name, set()).add(photo.profile_id)
            kept.setdefault(name, set())
            if kind:
                why.setdefault(name, Counter())[kind] += 1
            else:
                kept[name].add(photo.profile_id)
    lines = []
    for name in sorted(before):
        if len(kept[name]) < LEAST_PROFILES:
            left = ", ".join(f"{count} photos: {kind}" for kind, count in sorted(why.get(name, Counter()).items()))
            lines.append(
                f"{name}: {len(kept[name])} of {len(before[name])} profiles are kept ({left or 'nothing was left out'})"
            )
    if lines:
        remedy = (
            "add photos of it, keep more (such as leave_out.visual_quality=[]), or take its photos out of the source"
        )
        raise UserError("\n  ".join([f"A class needs {LEAST_PROFILES} profiles; {remedy}:", *lines]))


# Profiles that `style_match.forget` took out of the folder and the source still has: they are not written again.


def without_forgotten(out: Path, labelled: Labelled, couples: str, faults: Faults) -> tuple[Labelled, str, int]:
    """(the source without them, couples.csv without theirs, number of profiles).

    Ids that the table of `out` has are not looked at: whoever was forgotten is not there.

    Raises:
        UserError: forgetting somebody was interrupted there, forgotten.json is damaged, nobody is left.
    """
    if (journal := Journal(out)).path.exists():
        raise UserError(
            f"out={out}: forgetting somebody was interrupted here ({journal.path.name}). Give that command again first."
        )
    there = set[str]()
    if (out / "profiles.csv").is_file():
        table = read_table(out, "profiles", (("profile_id",),), faults)
        faults.raise_if_any()
        there = {record["profile_id"] for _, record in table.records()} if table is not None else there
    photos = labelled.source.photos
    gone = forgotten_among(out, dict.fromkeys(photo.profile_id for photo in photos if photo.profile_id not in there))
    if not gone:
        return labelled, couples, 0
    stays = [place for place, photo in enumerate(photos) if photo.profile_id not in gone]
    if not stays:
        raise UserError(f"out={out}: every profile of the source was forgotten here; give a source that has others")
    source = replace(labelled.source, photos=tuple(photos[place] for place in stays))
    metadata = tuple(labelled.metadata[place] for place in stays)
    places = tuple(labelled.places[place] for place in stays)
    files = tuple(labelled.files[place] for place in stays)
    return Labelled(source, metadata, places, files), _couples(couples, gone), len(gone)


def _couples(text: str, gone: Collection[str]) -> str:
    lines = csv.reader(io.StringIO(text, newline="")) if text else [()]
    header, *rows = [[read_cell(cell) for cell in cells] for cells in lines]
    ids = [header.index(name) for sides in SIDES for name in sides if name in header]
    return as_csv(header, (row for row in rows if not any(row[at] in gone for at in ids))) if text else ""


# The folder that is prepared: whose it is, and files that are written whole.


DONE, UNFINISHED, PHOTOS = "prepared.json", "prepared.partial.json", "photos"
TABLES = ("profiles.csv", "couples.csv", "metadata.jsonl", "classes.json", "rejected.csv")
REMEDY = "Free some space, or choose another out; the same command goes on where it stopped."


class OutFolder:
    """`out`: empty, or an earlier preparation of the same source with the same options.

    Raises:
        UserError: it holds something else, lies in the source, or cannot be made.
    """

    def __init__(self, path: Path, source: Path):
        self.path = path
        inside, outer = Path(os.path.realpath(path)), Path(os.path.realpath(source))
        if inside == outer or inside.is_relative_to(outer) or outer.is_relative_to(inside):
            raise UserError(f"out={path}: lies in the source, or the source in it; give a folder outside of {source}")
        if path.exists() and not path.is_dir():
            raise UserError(f"out={path}: is a file; give a folder")
        there = [each.name for each in path.iterdir()] if path.is_dir() else []
        others = [name for name in there if name != ".lock" and not name.endswith(".tmp")]
        if others and not {DONE, UNFINISHED} & {*others}:
            raise UserError(
                f"out={path}: is not empty ({sorted(others)[0]} is there) and was not made by this step; give an empty "
                "or a new folder"
            )

    @property
    def is_update(self) -> bool:
        return (self.path / DONE).exists()

    def is_begun_otherwise(self, identity: Mapping[str, Any]) -> bool:
        """Whether it was begun, and never finished, with other options: then it is begun anew.

        Raises:
            UserError: it was prepared, or begun, from another source, or was prepared with other options.
        """
        begun = False
        for name in (DONE, UNFINISHED):
            try:
                was = json.loads((self.path / name).read_text(encoding="utf-8"))["identity"]
                differing = [
                    f"{key} was {_written(was.get(key))}, now {_written(identity.get(key))}"
                    for key in sorted({*was, *identity})
                    if was.get(key) != identity.get(key)
                ]
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{self.path / name} cannot be read ({error}); restore it or give another out"
                ) from None
            if differing and (self.is_update or was.get("source") != identity.get("source")):
                raise UserError(
                    f"out={self.path}: was prepared otherwise: {'; '.join(differing)}. Give another out, or the same "
                    "words as then to bring it up to date."
                )
            begun = bool(differing)
        return begun

    def clear(self) -> None:
        """Removes the tables and splits of a preparation that was never finished; its photos are gone over later."""
        for path in [self.path / name for name in TABLES] + [*(self.path / "splits").glob("*.csv")]:
            path.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While inside, no other process writes it; the operating system lets go of a killed one's lock."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = hold(self.path / ".lock")
        except OSError as error:
            raise UserError(f"out={self.path}: cannot be written ({error.strerror}); give another folder") from error
        if lock is None:
            raise UserError(f"out={self.path}: another process is writing it; wait for it")
        with lock:
            for folder in (self.path, self.path / PHOTOS):
                remove_unfinished(folder)  # of a killed process
            yield

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Notes whose it is, before anything else is written."""
        self.write(UNFINISHED, as_json({"identity": identity}))
        (self.path / PHOTOS).mkdir(exist_ok=True)

    def finish(self, record: Mapping[str, Any]) -> None:
        self.write(DONE, as_json(record))
        (self.path / UNFINISHED).unlink(missing_ok=True)

    def write(self, name: str, content: str | bytes) -> None:
        write_whole(self.path / name, content, remedy=REMEDY)

    def write_or_remove(self, name: str, content: str) -> None:
        """`write`; a file without content is not there."""
        if content:
            self.write(name, content)
        else:
            (self.path / name).unlink(missing_ok=True)

    def digest(self) -> str:
        """Of the tables, splits and names of photos: whether a run changed anything."""
        digest = hashlib.sha256()
        for path in sorted(each for each in self.path.rglob("*") if each.is_file() and not each.name.startswith(".")):
            name = path.relative_to(self.path).as_posix()
            if name in (UNFINISHED, "prepared.html"):
                continue
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            if not name.startswith(f"{PHOTOS}/"):
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def write_photos(
        self,
        photos: Sequence[tuple[SourcePhoto, Facts, str]],
        *,
        link: bool,
        fingerprints: Fingerprints,
        progress: Callable[[int, int], object],
    ) -> int:
        """Copies (or links) photos to their names unless they are there; returns how many were written.

        Raises:
            UserError: a photo was changed since it was looked at, the disk is full, links cannot be made there.
        """
        written = 0
        for done, (photo, facts, name) in enumerate(photos, start=1):
            path = self.path / name
            if not path.exists() or fingerprints.sha256(path) != facts.sha256:
                if link and photo.path is not None:
                    self._link(photo.path, path)
                else:
                    self._copy(photo, facts, path)
                written += 1
            progress(done, len(photos))
        return written

    def _copy(self, photo: SourcePhoto, facts: Facts, path: Path) -> None:
        try:
            content = photo.content()
        except OSError as error:
            raise UserError(f"{photo.place}: {photo.image} cannot be read ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != facts.sha256:
            raise UserError(f"{photo.place}: {photo.image} was changed meanwhile; run again, when nothing writes to it")
        write_whole(path, content, remedy=REMEDY)

    @staticmethod
    def _link(source: Path, path: Path) -> None:
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            os.link(os.path.realpath(source), beside)
            os.replace(beside, path)
        except OSError as error:
            raise UserError(
                f"photos=link: cannot link {path} to {source} ({error.strerror}); use photos=copy"
            ) from error

    def remove_photos(self, keep: Iterable[str]) -> int:
        """Removes photos that no row names any more; returns how many."""
        kept = set(keep)
        gone = [path for path in (self.path / PHOTOS).iterdir() if f"{PHOTOS}/{path.name}" not in kept]
        for path in gone:
            path.unlink()
        return len(gone)


def as_json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# The files of the prepared dataset folder, beside its photos.


def profiles_csv(source: Source, images: Sequence[str], verdicts: Verdicts) -> str:
    """Every photo of the source, those left out with their reason."""
    group, left_out = OWN_COLUMNS
    further = [name for name in source.header if name not in OWN_COLUMNS]
    rows = (
        (
            photo.profile_id,
            image,
            *(photo.columns.get(name, "") for name in further),
            verdicts.groups.get(photo.profile_id, ""),
            " ".join(reason.split()),
        )
        for photo, image, reason in zip(source.photos, images, verdicts.reasons, strict=True)
    )
    return as_csv(("profile_id", "image", *further, group, left_out), rows)


def metadata_jsonl(images: Sequence[str], metadata: Sequence[dict[str, Any] | None]) -> str:
    lines = [
        json.dumps({"image": image, **said}, ensure_ascii=False) + "\n"
        for image, said in zip(images, metadata, strict=True)
        if said is not None
    ]
    return "".join(lines)


def classes_json(path: Path, label: str, names: Sequence[str], max_shown: int) -> tuple[str, list[str]]:
    """(text, classes): those of the file where it is there, then the new ones; a number once given stays.

    Raises:
        UserError: the file that is there is broken, or of another column.
    """
    known: list[str] = []
    if path.exists():
        faults = Faults(path.parent, max_shown)
        known = list(classes.read_classes(path.parent, None, label, faults))
        if not known and not len(faults):
            faults.add(f"is of another column than {label}", file=path.name)
        faults.raise_if_any()
    found = [*known, *sorted({*names} - {*known})]
    return as_json({"column": label, "classes": found}), found


def find_couples(base: Path, given: Path | None) -> Path | None:
    """The table of couples: the one that was named, else the source's own where it has one.

    Raises:
        UserError: the one named is not there, or is called otherwise.
    """
    names = ("couples.csv", "couples.parquet")
    if given is not None:
        if not given.is_file() or given.name not in names:
            reason = f"is not called {' or '.join(names)}; rename it" if given.is_file() else "there is no such file"
            raise UserError(f"couples={given}: {reason}")
        return given
    return next((base / name for name in names if (base / name).exists()), None)


def couples_csv(folder: Path, source: Source, faults: Faults) -> tuple[str, int]:
    """(text, number of couples) of the table in `folder`, checked against the profiles of the source."""
    first: dict[str, dict[str, str]] = {}
    for photo in source.photos:
        first.setdefault(photo.profile_id, {name: cell for name, cell in photo.columns.items() if name != "split"})
    profiles = Profiles(Table(Path("the source"), "row", (), ()), (), first, {}, None, (), frozenset())
    found = read_couples(folder, profiles, faults)
    if found is None:
        return "", 0
    table = found.table
    place = table.header.index("split") if "split" in table.header else None
    rows = [
        tuple(to_split(cell) if position == place else cell for position, cell in enumerate(cells))
        for _, cells in table.rows
    ]
    return as_csv(table.header, rows), len(rows)


def settled_groups(out: Path, max_shown: int) -> dict[str, str]:
    """Profile id -> group of copies, of the profiles that an earlier run kept; {} where there was none."""
    if not (out / "profiles.csv").exists():
        return {}
    faults = Faults(out, max_shown)
    table = read_table(out, "profiles", (("profile_id", *OWN_COLUMNS),), faults)
    faults.raise_if_any()
    assert table is not None  # what could not be read has left a fault
    group, left_out = OWN_COLUMNS
    return {record["profile_id"]: record[group] for _, record in table.records() if not record[left_out]}


def class_counts(source: Source, verdicts: Verdicts, label: str) -> Mapping[str, tuple[int, int]]:
    """Class -> (photos in the source, photos kept)."""
    counts: dict[str, list[int]] = {}
    for photo, kind in zip(source.photos, verdicts.kinds, strict=True):
        if name := photo.columns.get(label):
            both = counts.setdefault(name, [0, 0])
            both[0] += 1
            both[1] += not kind
    return {name: (before, after) for name, (before, after) in sorted(counts.items())}


# Options that change how fast a run is, what it shows or how photos get there, and not what is prepared.
PACE = ("out", "page", "num_workers", "max_faults_shown", "progress", "debug", "photos", "schema")
PACKAGES = ("style_match", "pillow", "imagehash", "numpy")


@dataclass(frozen=True)
class Prepared:
    """What was done, for the page and the terminal."""

    folder: DatasetFolder
    split: Split
    source: Source
    facts: Sequence[Facts]
    verdicts: Verdicts
    images: Sequence[str]
    record: dict[str, Any]
    changed: bool
    notes: Sequence[str]


def prepare(cfg: DictConfig) -> Prepared:
    """Reads, checks, filters and writes all but the page; `Prepared.record` is what prepared.json will say.

    Raises:
        UserError: any fault of the source, the options or the out folder, named with its remedy.
    """
    root, path = Path(cfg.source).expanduser().absolute(), Path(cfg.out).expanduser().absolute()
    out = OutFolder(path, root)
    task, labelled, couples = read(cfg, root)
    faults = Faults(path, cfg.max_faults_shown)
    labelled, couples, num_forgotten = without_forgotten(path, labelled, couples, faults)
    source = labelled.source
    notes = check_filters(cfg, labelled)
    if num_forgotten:
        were = "profile of the source was" if num_forgotten == 1 else "profiles of the source were"
        notes.append(f"{num_forgotten} {were} forgotten here and {'is' if num_forgotten == 1 else 'are'} left out")
    for note in source.notes:
        progress.say(note)
    label = cfg.label if task == "style" else None
    identity = _identity(cfg, root, source.kind, task)
    anew = out.is_begun_otherwise(identity)
    fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")
    facts = _look(cfg, source, fingerprints)
    if note := said_faults(
        [str(photo.image) for photo, its in zip(source.photos, facts, strict=True) if its.colour_fault]
    ):
        notes.append(note)
    verdicts = judge(
        source.photos,
        facts,
        leave_out=attributes_of(cfg),
        min_side_px=cfg.min_side_px,
        label=label,
        duplicates=cfg.duplicates,
        settled={} if anew else settled_groups(path, cfg.max_faults_shown),
        show=cfg.progress,
    )
    _refuse(cfg, source, facts, verdicts, label)
    names = zip(file_stems([photo.profile_id for photo in source.photos]), facts, strict=True)
    images = [f"{PHOTOS}/{stem}{each.suffix}" for stem, each in names]
    with out.alone():
        if anew:
            out.clear()
        before = out.digest()
        was_complete = out.is_update
        out.begin(identity)
        rows = zip(source.photos, facts, images, verdicts.kinds, strict=True)
        wanted = [(photo, each, image) for photo, each, image, kind in rows if each.ok and kind != TWICE]
        with progress.bar("writing photos", "photos", show=cfg.progress) as advance:
            written = out.write_photos(wanted, link=cfg.photos == "link", fingerprints=fingerprints, progress=advance)
        classes: list[str] = []
        if label:
            given = classes_of(cfg, label) or {
                photo.columns[label] for photo in source.photos if photo.columns.get(label)
            }
            text, classes = classes_json(path / "classes.json", label, sorted(given), cfg.max_faults_shown)
            out.write("classes.json", text)
        out.write_or_remove("metadata.jsonl", metadata_jsonl(images, labelled.metadata))
        out.write_or_remove("couples.csv", couples)
        out.write("profiles.csv", profiles_csv(source, images, verdicts))
        removed = out.remove_photos(image for _, _, image in wanted)
        folder = read_folder(path, task=task, label_column=label or cfg.label)
        hashes = dict(zip(images, (each.sha256 for each in facts), strict=True))
        notes += folder.notes
        folder = replace(folder, photo_sha256={photo.image: hashes[photo.image] for photo in folder.photos})
        split = make_split(folder, seed=cfg.split.seed, fractions=tuple(cfg.split.fractions))
        write_rejected(folder, path / "rejected.csv", more=split.excluded)
        counts = {**_counts(source, verdicts, folder, split, label), "forgotten": num_forgotten}
        record = {
            "identity": identity,
            "synthetic": any(
                map(is_synthetic, (root, *([Path(cfg.metadata).expanduser().parent] if cfg.metadata else [])))
            ),
            "counts": counts,
            "classes": classes,
            "data": folder.fingerprint(fingerprints),
            "versions": {name: version(name) for name in PACKAGES},
        }
        out.finish(record)
        changed = bool(written or removed) or not was_complete or out.digest() != before
    fingerprints.close()
    return Prepared(folder, split, source, facts, verdicts, images, record, changed, notes)


def _identity(cfg: DictConfig, root: Path, kind: str, task: str) -> dict[str, Any]:
    """What makes it this preparation: an out folder is brought up to date by the same alone."""
    options: Any = OmegaConf.to_container(cfg, resolve=True)
    options = {name: value for name, value in options.items() if name not in PACE}
    options["duplicates"] = {name: value for name, value in options["duplicates"].items() if name != "block"}
    schema = {name: classes_of(cfg, name) for name in cfg.attributes}
    return {**options, "source": str(root), "kind": kind, "task": task, "allowed_classes": schema}


def _look(cfg: DictConfig, source: Source, fingerprints: Fingerprints) -> list[Facts]:
    """Facts of every photo; those that cannot be decoded stop the run unless they may be left out."""
    inspector = Inspector(
        cache_root() / MEMO,
        fingerprints,
        hash_size=cfg.duplicates.hash_size,
        max_source_pixels=cfg.max_source_pixels,
    )
    with progress.bar("looking at photos", "photos", show=cfg.progress) as advance:
        facts = inspector.all(source.photos, num_workers=cfg.num_workers, progress=advance)
    bad = [
        f"{photo.place}: {photo.image}: {each.fault}"
        for photo, each in zip(source.photos, facts, strict=True)
        if each.fault and not photo.columns.get(LEFT_OUT)
    ]
    if bad and cfg.on_bad_image == "error":
        title = f"{len(bad)} of {len(facts)} photos cannot be used (mend or remove them, or on_bad_image=exclude):"
        raise UserError("\n  ".join([title, *bad]))
    return facts


def _refuse(cfg: DictConfig, source: Source, facts: Sequence[Facts], verdicts: Verdicts, label: str | None) -> None:
    """Raises UserError for photos without a label that may not be left out, and for classes that are left empty."""
    faults = Faults(Path(cfg.source), cfg.max_faults_shown)
    kept = [photo for photo, kind in zip(source.photos, verdicts.kinds, strict=True) if not kind]
    labels.check_agreement(kept, label, faults)
    faults.raise_if_any()
    judged = zip(source.photos, verdicts.kinds, strict=True)
    lacking = [photo.place for photo, kind in judged if label and kind == f"no {label}"]
    if label and not any(photo.columns.get(label) for photo in source.photos):
        raise UserError(
            f"source={cfg.source}: no photo has a {label}{nearest(label, source.header)}; there is "
            f"{', '.join(source.header) or 'no table and no metadata.jsonl'}. Label them (python -m style_match.label "
            "images=FOLDER), or say what the class is called with columns.label=COLUMN or label=ATTRIBUTE."
        )
    if lacking and not cfg.leave_out.unlabelled:
        shown = lacking[: cfg.max_faults_shown]
        more = [f"... and {len(lacking) - len(shown)} more"] if len(lacking) > len(shown) else []
        title = (
            f"{len(lacking)} of {len(facts)} photos have no {label}: label them (python -m style_match.label "
            "images=FOLDER, or a column of the table), or leave them out with leave_out.unlabelled=true:"
        )
        raise UserError("\n  ".join([title, *shown, *more]))
    if not kept:
        why = ", ".join(f"{count} photos: {kind}" for kind, count in verdicts.counts.items())
        raise UserError(f"source={cfg.source}: every photo is left out ({why}); see leave_out and min_side_px")
    if label:
        refuse_empty_classes(source.photos, verdicts, label)


def _counts(
    source: Source, verdicts: Verdicts, folder: DatasetFolder, split: Split, label: str | None
) -> dict[str, Any]:
    """The numbers of prepared.json, the page and the terminal."""
    per_class = class_counts(source, verdicts, label) if label else {}
    sizes = Counter(split.name_of.values())
    return {
        "photos": len(source.photos),
        "kept": sum(not kind for kind in verdicts.kinds),
        "profiles": len(folder.profile_ids),
        "couples": len(folder.couples),
        "left_out": verdicts.counts,
        "classes": {name: {"photos": before, "kept": after} for name, (before, after) in per_class.items()},
        "copies": {"groups": len(set(verdicts.groups.values())), "profiles": len(verdicts.groups)},
        "split": {name: sizes[name] for name in SPLITS},
        "excluded_from_split": len(split.excluded),
    }


# What the step prints at its end.


def summary(prepared: Prepared) -> str:
    """A short table of counts, where the files are, and the command that comes next."""
    counts, root, task = prepared.record["counts"], prepared.folder.root, prepared.folder.task
    data = "synthetic data" if prepared.record["synthetic"] else ""
    lines = [f"Prepared {root}" + (f" ({data})" if data else ""), ""]
    rows = [
        ("photos in the source", counts["photos"]),
        *((f"  left out: {k}", n) for k, n in counts["left_out"].items()),
    ]
    rows += [("photos kept", counts["kept"]), ("profiles", counts["profiles"])]
    if task == "couple":
        rows.append(("couples", counts["couples"]))
    rows += [(f"  {name}", its["kept"]) for name, its in counts["classes"].items()]
    rows.append(("groups of copies", counts["copies"]["groups"]))
    rows.append(("  profiles in them", counts["copies"]["profiles"]))
    width = max(len(name) for name, _ in rows)
    lines += [f"{name:<{width}}  {count:>9,}" for name, count in rows]
    lines.append(f"{'train / val / test':<{width}}  {' / '.join(str(n) for n in counts['split'].values()):>9}")
    lines += ["", *(f"note: {note}" for note in (*prepared.notes, *prepared.split.notes))]
    if not prepared.changed:
        lines.append("Nothing changed: it was up to date.")
    lines += [str(root / name) for name in ("profiles.csv", "rejected.csv", "prepared.html")]
    data_name = "couples" if task == "couple" else "styles"
    words = (
        ""
        if prepared.folder.label_column in (None, "fashion_style")
        else f" data.label_column={prepared.folder.label_column}"
    )
    lines += ["", f"Next: python -m style_match.train data={data_name} data.root={root}{words}"]
    return "\n".join(lines)


SAID = {
    "tables": "photos, with their table where there is one",
    "classes": "one folder for each class",
    "parquet": "Parquet rows with images",
    "huggingface": "a dataset of the `datasets` library",
}


def read(cfg: DictConfig, root: Path) -> tuple[str, labels.Labelled, str]:
    """(task, the source with its labels, text of couples.csv).

    Raises:
        UserError: all faults of the source together.
    """
    faults = Faults(root, cfg.max_faults_shown)
    columns = Columns(cfg.columns.profile_id, cfg.columns.image, cfg.columns.label or cfg.label, cfg.label)
    image_root = Path(cfg.image_root).expanduser().absolute() if cfg.image_root else None
    source = read_source(root, kind=cfg.kind, columns=columns, image_root=image_root, ids=cfg.ids, faults=faults)
    if cfg.kind == "auto":
        progress.say(f"kind={source.kind}: {root} is read as {SAID[source.kind]}")
    if not source.photos:
        if not len(faults):
            faults.add("has no rows")
        faults.raise_if_any()
    base = root if root.is_dir() else root.parent
    table = find_couples(base, Path(cfg.couples).expanduser().absolute() if cfg.couples else None)
    task = cfg.task if cfg.task != "auto" else "couple" if table else "style"
    if cfg.task == "auto":
        progress.say(f"task={task}: {'couples are there' if table else 'there are no couples'}")
    if task == "couple" and table is None:
        raise UserError(f"task=couple: {base} has no couples.csv; give couples=FILE, or task=style")
    metadata = Path(cfg.metadata).expanduser().absolute() if cfg.metadata else None
    attributes = list(dict.fromkeys([cfg.label, *cfg.attributes, *cfg.leave_out]))
    labelled = labels.join(source, metadata, attributes, columns, faults)
    photos = labelled.source.photos
    allowed = {name: classes for name in attributes if (classes := classes_of(cfg, name))}
    labels.check_classes(labelled, allowed, faults)
    if task == "style":
        labels.check_writing(photos, cfg.label, faults)
    text = ""
    if task == "couple" and table is not None:
        text, _ = couples_csv(table.parent, labelled.source, faults)
    faults.raise_if_any()
    return task, labelled, text
