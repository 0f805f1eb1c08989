"""Prepare a dataset folder: read a source, join its labels, filter, group copies, split, and write it."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match.curation.candidates import Candidate, inspect_photos
from style_match.curation.duplicates import find_copies, group_profiles
from style_match.curation.filters import (
    TWICE,
    check_filters,
    check_remaining,
    count_kinds,
    leave_out,
    leave_out_copies_across_splits,
)
from style_match.curation.forgotten import forgotten_among
from style_match.curation.labels import allowed_classes, check_classes, join_labels
from style_match.curation.output import RECORD, OutputFolder
from style_match.curation.sources import KINDS, Columns, Source, read_source, to_split
from style_match.data.dataset import DatasetFolder, read_folder, write_rejected
from style_match.data.fingerprints import Fingerprints, Pair
from style_match.data.images import colour_fault_note
from style_match.data.profiles import SIDES, Profiles, read_classes, read_couples
from style_match.data.records import DUPLICATES, JOURNAL, LEFT_OUT, SPLITS, Faults
from style_match.data.splits import Split, make_split
from style_match.data.tables import Table, read_table
from style_match.synthetic.dataset import is_synthetic
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, cache_root
from style_match.utils.progress import say

# Options that change speed, messages or how photos are stored, but not what is prepared.
_NOT_IDENTITY = ("out", "page", "num_workers", "max_faults_shown", "progress", "debug", "photos", "schema")
_PACKAGES = ("style_match", "pillow", "imagehash", "numpy")


@dataclass(frozen=True)
class Prepared:
    """What was prepared, for the page and the summary.

    Attributes:
        candidates: every photo of the source, with its facts and the reason if it is left out.
        groups: profile id -> name of its group of copies.
        pairs: positions of copies among the candidates.
        record: the content of prepared.json.
        changed: whether any file of the folder changed.
        notes: sentences for the user.
    """

    folder: DatasetFolder
    split: Split
    candidates: Sequence[Candidate]
    groups: Mapping[str, str]
    pairs: Sequence[Pair]
    record: dict[str, Any]
    changed: bool
    notes: Sequence[str]


def prepare(cfg: DictConfig) -> Prepared:
    """Prepare or update the folder `out` of conf/prepare.yaml, all but its page.

    Raises:
        UserError: a mistake in the source, the options or the folder, with its remedy.
    """
    root, path = _absolute(cfg.source), _absolute(cfg.out)
    out = OutputFolder(path, root)
    source, task, couples = _read(cfg, root)
    earlier = _earlier_rows(path, cfg.max_faults_shown)
    forgotten = _forgotten(path, source, {row["profile_id"] for row in earlier})
    source = replace(source, photos=tuple(photo for photo in source.photos if photo.profile_id not in forgotten))
    notes = [*source.notes, *check_filters(cfg, source)]
    if forgotten:
        notes.append(f"{len(forgotten)} profile{'s' * (len(forgotten) > 1)} ignored: removed by style_match.forget")
    label = cfg.label if task == "style" else None
    identity = _identity(cfg, root, source.kind, task)
    out.check_identity(identity)

    fingerprints = Fingerprints(cache_root() / "fingerprints.sqlite")
    candidates = inspect_photos(source.photos, cfg, fingerprints)
    if note := colour_fault_note([each.photo.image for each in candidates if each.facts.colour_fault]):
        notes.append(note)

    pairs = find_copies([each.facts for each in candidates], cfg.duplicates, show=cfg.progress)
    settled = {row["profile_id"]: row.get(DUPLICATES, "") for row in earlier if not row.get(LEFT_OUT)}
    owners = [photo.profile_id for photo in source.photos]
    groups, bridges = group_profiles(owners, pairs, settled if out.is_update else {})
    leave_out(candidates, cfg, label, bridges)
    if cfg.duplicates.across_splits == "leave_out":
        leave_out_copies_across_splits(candidates, groups)
    check_remaining(candidates, source, cfg, label)

    with out.stage() as staging:
        copied = [each for each in candidates if each.facts.ok and each.kind != TWICE]
        out.add_photos(copied, fingerprints, link=cfg.photos == "link", show=cfg.progress)
        classes = _classes(cfg, path, candidates, label) if label else []
        out.write("classes.json", _as_json({"column": label, "classes": classes}) if label else "")
        out.write("metadata.jsonl", _metadata_jsonl(candidates))
        out.write("couples.csv", _couples_csv(couples, forgotten) if couples else "")
        out.write("profiles.csv", _profiles_csv(source, candidates, groups))
        folder = read_folder(staging, task=task, label_column=label or cfg.label)
        sha256 = {each.image: each.facts.sha256 for each in candidates}
        folder = replace(folder, photo_sha256={photo.image: sha256[photo.image] for photo in folder.photos})
        split = make_split(folder, seed=cfg.split.seed, fractions=tuple(cfg.split.fractions))
        write_rejected(folder, staging / "rejected.csv", more=split.excluded)
        record = {
            "identity": identity,
            "synthetic": is_synthetic(root) or bool(cfg.metadata and is_synthetic(_absolute(cfg.metadata).parent)),
            "counts": {**_counts(candidates, groups, folder, split, label), "forgotten": len(forgotten)},
            "classes": classes,
            "data": folder.fingerprint(fingerprints),
            "versions": {name: version(name) for name in _PACKAGES},
        }
        out.write(RECORD, _as_json(record))
    fingerprints.close()
    folder = read_folder(path, task=task, label_column=label or cfg.label)
    return Prepared(folder, split, candidates, groups, pairs, record, out.is_changed, [*notes, *folder.notes])


def summary(prepared: Prepared) -> str:
    """Return a short table of counts, the paths of the files, and the next command."""
    counts, root, task = prepared.record["counts"], prepared.folder.root, prepared.folder.task
    rows = [("photos in the source", counts["photos"])]
    rows += [(f"  left out: {kind}", num) for kind, num in counts["left_out"].items()]
    rows += [("photos kept", counts["kept"]), ("profiles", counts["profiles"])]
    if task == "couple":
        rows.append(("couples", counts["couples"]))
    rows += [(f"  {name}", its["kept"]) for name, its in counts["classes"].items()]
    rows += [("groups of copies", counts["copies"]["groups"]), ("  profiles in them", counts["copies"]["profiles"])]
    width = max(len(name) for name, _ in rows)
    lines = [f"Prepared {root}{' (synthetic data)' * prepared.record['synthetic']}", ""]
    lines += [f"{name:<{width}}  {count:>9,}" for name, count in rows]
    lines += [f"{'train / val / test':<{width}}  {' / '.join(map(str, counts['split'].values())):>9}", ""]
    lines += [f"note: {note}" for note in (*prepared.notes, *prepared.split.notes)]
    if not prepared.changed:
        lines.append("Nothing changed: the folder was up to date.")
    lines += [str(root / name) for name in ("profiles.csv", "rejected.csv", "prepared.html")]
    data = "couples" if task == "couple" else "styles"
    label = prepared.folder.label_column
    label_option = f" data.label_column={label}" if label not in (None, "fashion_style") else ""
    return "\n".join([*lines, "", f"Next: python -m style_match.train data={data} data.root={root}{label_option}"])


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _as_json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


# Reading.


def _read(cfg: DictConfig, root: Path) -> tuple[Source, str, Table | None]:
    """Return the source with its labels, the task, and the couples. Raises UserError with all faults of the source."""
    faults = Faults(root, cfg.max_faults_shown)
    columns = Columns(
        cfg.columns.profile_id, cfg.columns.image, cfg.columns.label or cfg.label, cfg.label, cfg.columns.split
    )
    image_root = _absolute(cfg.image_root) if cfg.image_root else None
    source = read_source(root, kind=cfg.kind, columns=columns, image_root=image_root, ids=cfg.ids, faults=faults)
    if cfg.kind == "auto":
        say(f"kind={source.kind}: {root} is read as {KINDS[source.kind]}")
    if not source.photos:
        if not len(faults):
            faults.add("has no rows")
        faults.raise_if_any()
    base = root if root.is_dir() else root.parent
    couples_file = _couples_file(base, _absolute(cfg.couples) if cfg.couples else None)
    task = cfg.task
    if task == "auto":
        task = "couple" if couples_file else "style"
        say(f"task={task}: there is {'a' if couples_file else 'no'} table of couples")
    if task == "couple" and couples_file is None:
        raise UserError(f"task=couple: {base} has no couples.csv; set couples=FILE, or task=style")
    attributes = list(dict.fromkeys([cfg.label, *cfg.attributes, *cfg.leave_out]))
    source = join_labels(source, _absolute(cfg.metadata) if cfg.metadata else None, attributes, columns, faults)
    allowed = {name: classes for name in attributes if (classes := allowed_classes(cfg, name))}
    check_classes(source.photos, allowed, faults)
    couples = None
    if task == "couple" and couples_file:
        couples = _read_couples(couples_file.parent, source, faults, with_splits=bool(columns.split))
    faults.raise_if_any()
    return source, task, couples


def _couples_file(base: Path, given: Path | None) -> Path | None:
    names = ("couples.csv", "couples.parquet")
    if given is None:
        return next((base / name for name in names if (base / name).exists()), None)
    if not given.is_file():
        raise UserError(f"couples={given}: there is no such file")
    if given.name not in names:
        raise UserError(f"couples={given}: rename the file to {' or '.join(names)}")
    return given


def _read_couples(folder: Path, source: Source, faults: Faults, *, with_splits: bool) -> Table | None:
    """Read the table of couples and check it against the profiles of the source."""
    columns: dict[str, dict[str, str]] = {}
    for photo in source.photos:
        columns.setdefault(photo.profile_id, {name: cell for name, cell in photo.columns.items() if name != "split"})
    profiles = Profiles(Table(Path("the source"), "row", (), ()), (), columns, {}, None, (), frozenset())
    found = read_couples(folder, profiles, faults, with_splits=with_splits)
    return found.table if found else None


def _earlier_rows(out: Path, max_shown: int) -> list[dict[str, str]]:
    """Return the rows of profiles.csv of an earlier preparation."""
    if not (out / "profiles.csv").is_file():
        return []
    faults = Faults(out, max_shown)
    table = read_table(out, "profiles", (("profile_id",),), faults)
    faults.raise_if_any()
    return [record for _, record in table.records()] if table else []


def _forgotten(out: Path, source: Source, present: Collection[str]) -> set[str]:
    """Return the profiles of the source that `style_match.forget` removed from `out`.

    Args:
        present: profiles in the table of `out`, which are not checked: a forgotten one is not among them.

    Raises:
        UserError: `forget` was interrupted there, forgotten.json is damaged, or nobody would be left.
    """
    if (out / JOURNAL).exists():
        raise UserError(f"out={out}: style_match.forget was interrupted here ({JOURNAL}). Run it again first.")
    profile_ids = {photo.profile_id for photo in source.photos}
    forgotten = forgotten_among(out, profile_ids.difference(present))
    if forgotten == profile_ids:
        raise UserError(f"out={out}: every profile of the source was forgotten here; give a source with other profiles")
    return forgotten


def _identity(cfg: DictConfig, root: Path, kind: str, task: str) -> dict[str, Any]:
    """Everything that decides what is prepared; a folder is only updated by a run of the same identity."""
    options: Any = OmegaConf.to_container(cfg, resolve=True)
    options = {name: value for name, value in options.items() if name not in _NOT_IDENTITY}
    classes = {name: allowed_classes(cfg, name) for name in cfg.attributes}
    return {**options, "source": str(root), "kind": kind, "task": task, "allowed_classes": classes}


# Writing.


def _couples_csv(couples: Table, forgotten: set[str]) -> str:
    ids = [name for sides in SIDES for name in sides if name in couples.header]
    records = [record for _, record in couples.records() if forgotten.isdisjoint(record[name] for name in ids)]
    rows = ([to_split(cell) if name == "split" else cell for name, cell in record.items()] for record in records)
    return as_csv(couples.header, rows)


def _profiles_csv(source: Source, candidates: Sequence[Candidate], groups: Mapping[str, str]) -> str:
    """Every photo of the source; those left out with their reason."""
    further = [name for name in source.header if name not in (DUPLICATES, LEFT_OUT)]
    rows = (
        (
            each.photo.profile_id,
            each.image,
            *(each.photo.columns.get(name, "") for name in further),
            groups.get(each.photo.profile_id, ""),
            " ".join(each.reason.split()),
        )
        for each in candidates
    )
    return as_csv(("profile_id", "image", *further, DUPLICATES, LEFT_OUT), rows)


def _metadata_jsonl(candidates: Sequence[Candidate]) -> str:
    return "".join(
        json.dumps({"image": each.image, **each.photo.metadata}, ensure_ascii=False) + "\n"
        for each in candidates
        if each.photo.metadata is not None
    )


def _classes(cfg: DictConfig, out: Path, candidates: Sequence[Candidate], label: str) -> list[str]:
    """Return the classes of an earlier preparation, whose numbers stay, then the new ones, sorted."""
    faults = Faults(out, cfg.max_faults_shown)
    earlier = read_classes(out, None, label, faults)
    faults.raise_if_any()
    names = allowed_classes(cfg, label) or [each.photo.columns.get(label, "") for each in candidates]
    return [*earlier, *sorted({*names} - {*earlier, ""})]


def _counts(
    candidates: Sequence[Candidate], groups: Mapping[str, str], folder: DatasetFolder, split: Split, label: str | None
) -> dict[str, Any]:
    """Return the numbers of prepared.json, the page and the summary."""
    labels = [(each.photo.columns.get(label, ""), each.kind) for each in candidates] if label else []
    photos, kept = Counter(name for name, _ in labels), Counter(name for name, kind in labels if not kind)
    sizes = Counter(split.name_of.values())
    return {
        "photos": len(candidates),
        "kept": sum(not each.kind for each in candidates),
        "profiles": len(folder.profile_ids),
        "couples": len(folder.couples),
        "left_out": count_kinds(candidates),
        "classes": {name: {"photos": photos[name], "kept": kept[name]} for name in sorted(photos) if name},
        "copies": {"groups": len(set(groups.values())), "profiles": len(groups)},
        "split": {name: sizes[name] for name in SPLITS},
        "excluded_from_split": len(split.excluded),
    }
