"""From a source to a prepared folder, in one pass that can be repeated."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match import progress
from style_match.data.colour import said_faults
from style_match.data.faults import Faults, nearest
from style_match.data.fingerprint import Fingerprints
from style_match.data.folder import DatasetFolder, read_folder, write_rejected
from style_match.data.profiles import LEFT_OUT
from style_match.data.records import SPLITS
from style_match.data.split import Split, make_split
from style_match.data.synthetic import is_synthetic
from style_match.errors import UserError
from style_match.files import cache_root
from style_match.preparation import dataset, labels
from style_match.preparation.filters import attributes_of, check_filters
from style_match.preparation.forgotten import without_forgotten
from style_match.preparation.inspection import MEMO, Facts, Inspector
from style_match.preparation.leaving import TWICE, Verdicts, judge, refuse_empty_classes
from style_match.preparation.names import file_stems
from style_match.preparation.out import PHOTOS, OutFolder
from style_match.preparation.reading import classes_of, read
from style_match.preparation.source import Source

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
        settled={} if anew else dataset.settled_groups(path, cfg.max_faults_shown),
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
            text, classes = dataset.classes_json(path / "classes.json", label, sorted(given), cfg.max_faults_shown)
            out.write("classes.json", text)
        out.write_or_remove("metadata.jsonl", dataset.metadata_jsonl(images, labelled.metadata))
        out.write_or_remove("couples.csv", couples)
        out.write("profiles.csv", dataset.profiles_csv(source, images, verdicts))
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
    per_class = dataset.class_counts(source, verdicts, label) if label else {}
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
