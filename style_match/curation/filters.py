"""Decide which photos are left out, each with one reason, and refuse filters that have no effect or remove too much."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match.cli.targets import conf_dir
from style_match.curation.candidates import Candidate
from style_match.curation.duplicates import equal_pairs
from style_match.curation.labels import allowed_classes, check_agreement
from style_match.curation.sources import Source
from style_match.data.records import LEFT_OUT, SPLITS, Faults, nearest
from style_match.utils.errors import UserError

TWICE = "same file twice"
MIN_PROFILES = 2  # per class: a query and its match


def filter_values(cfg: DictConfig) -> dict[str, list[str]]:
    """Return attribute -> values whose photos are left out, from `leave_out`.

    Raises:
        UserError: the values are not a list.
    """
    filters: Any = OmegaConf.to_container(cfg.leave_out, resolve=True)
    del filters["unlabelled"]  # a switch
    for name, values in filters.items():
        if not isinstance(values, list):
            raise UserError(f"leave_out.{name}={values} must be a list, such as leave_out.{name}=[{values}]")
    return {name: [str(value) for value in values] for name, values in filters.items()}


def check_filters(cfg: DictConfig, source: Source) -> list[str]:
    """Return notes about default filters and attributes that match nothing.

    Raises:
        UserError: a name or value of the user's matches nothing.
    """
    in_metadata = sorted({name for photo in source.photos for name in photo.metadata or ()})
    known = [*dict.fromkeys([*source.header, *in_metadata])]
    defaults: Any = OmegaConf.load(conf_dir() / "prepare.yaml")
    notes = []
    for name, values in filter_values(cfg).items():
        default = defaults.leave_out.get(name, [])
        if values and name not in known:
            if values != default:
                raise UserError(
                    f"leave_out.{name} is no column of the table and no attribute of metadata.jsonl"
                    f"{nearest(name, known)}; known are: {', '.join(known) or 'none'}"
                )
            notes.append(f"{name} is not known, so no photo is left out for it")
            continue
        present = sorted({photo.columns.get(name, "") for photo in source.photos} - {""})
        for value in values:
            if value in present:
                continue
            usual = [*allowed_classes(cfg, name), *default]
            if value not in usual or any(each.casefold() == value.casefold() for each in present):
                one_of = [*dict.fromkeys([*present, *usual])]
                hint = nearest(value, present) or nearest(value, one_of)
                raise UserError(f"leave_out.{name}={value} matches no photo{hint}; known are {', '.join(one_of)}")
            notes.append(f"no photo is {value} (leave_out.{name})")
    return notes


def leave_out(candidates: Sequence[Candidate], cfg: DictConfig, label: str | None, bridges: Mapping[int, str]) -> None:
    """Set `kind` and `reason` of each photo that is left out; the first rule that applies counts.

    Args:
        label: the column that each photo needs, if any.
        bridges: see `style_match.curation.duplicates.group_profiles`.
    """
    filters, min_side_px = filter_values(cfg), cfg.min_side_px
    twins = equal_pairs([(each.facts.sha256, each.photo.profile_id) for each in candidates])
    first_of = {later: candidates[first].photo.image for first, later in twins}
    for place, each in enumerate(candidates):
        facts, cells = each.facts, each.photo.columns
        unwanted = next((f"{name} is {cells[name]}" for name in filters if cells.get(name) in filters[name]), "")
        if cells.get(LEFT_OUT):
            each.kind, each.reason = "left out by the source", cells[LEFT_OUT]
        elif facts.fault:
            each.kind, each.reason = "cannot be decoded", facts.fault
        elif place in first_of:
            each.kind, each.reason = TWICE, f"the same bytes as {first_of[place]} of the same profile"
        elif min_side_px is not None and min(facts.width, facts.height) < min_side_px:
            each.kind = "too small"
            each.reason = f"{facts.width} x {facts.height} pixels, a side below min_side_px={min_side_px}"
        elif unwanted:
            each.kind = each.reason = unwanted
        elif label is not None and not cells.get(label):
            each.kind, each.reason = f"no {label}", f"no {label} in the table or in metadata.jsonl"
        elif place in bridges:
            each.kind = "copy of two"
            each.reason = f"a copy of photos of two profiles that are already in different groups, {bridges[place]} one"


def leave_out_copies_across_splits(candidates: Sequence[Candidate], groups: Mapping[str, str]) -> None:
    """Keep the copies in test, else those in val, where the source's own splits separate copies."""
    members: dict[str, list[Candidate]] = {}
    for each in candidates:
        group = groups.get(each.photo.profile_id)
        if group and not each.kind and each.photo.columns.get("split") in SPLITS:
            members.setdefault(group, []).append(each)
    for group_members in members.values():
        first = max(group_members, key=lambda each: SPLITS.index(each.photo.columns["split"]))
        split = first.photo.columns["split"]
        for each in group_members:
            if each.photo.columns["split"] != split:
                each.kind = "copy in another split"
                each.reason = f"a copy or near copy of {first.photo.profile_id}, which is in {split}"


def check_remaining(candidates: Sequence[Candidate], source: Source, cfg: DictConfig, label: str | None) -> None:
    """Refuse profiles whose photos disagree, photos without a label, and a class of fewer than `MIN_PROFILES` profiles.

    Raises:
        UserError: names the photos or classes and how to keep more.
    """
    faults = Faults(source.root, cfg.max_faults_shown)
    check_agreement([each.photo for each in candidates if not each.kind], label, faults)
    faults.raise_if_any()
    unlabelled = [each.photo.place for each in candidates if label and each.kind == f"no {label}"]
    if label and not any(each.photo.columns.get(label) for each in candidates):
        raise UserError(
            f"source={source.root}: no photo has a {label}{nearest(label, source.header)}; its columns are "
            f"{', '.join(source.header) or 'none'}. Label the photos (python -m style_match.label images=FOLDER), or "
            "name the class with columns.label=COLUMN or label=ATTRIBUTE."
        )
    if unlabelled and not cfg.leave_out.unlabelled:
        shown = unlabelled[: cfg.max_faults_shown]
        more = [f"... and {len(unlabelled) - len(shown)} more"] if len(unlabelled) > len(shown) else []
        title = (
            f"{len(unlabelled)} of {len(candidates)} photos have no {label}. Label them (python -m style_match.label "
            "images=FOLDER, or a column of the table), or leave them out with leave_out.unlabelled=true:"
        )
        raise UserError("\n  ".join([title, *shown, *more]))
    by_class: dict[str, list[Candidate]] = {}
    for each in candidates:
        if label and each.photo.columns.get(label):
            by_class.setdefault(each.photo.columns[label], []).append(each)
    lines = []
    for name, members in sorted(by_class.items()):
        kept = {each.photo.profile_id for each in members if not each.kind}
        if len(kept) < MIN_PROFILES:
            why = ", ".join(f"{count} photos: {kind}" for kind, count in count_kinds(members).items())
            total = len({each.photo.profile_id for each in members})
            lines.append(f"{name}: {len(kept)} of {total} profiles are kept ({why or 'nothing was left out'})")
    if lines:
        remedy = "add photos, keep more (such as leave_out.visual_quality=[]), or remove its photos from the source"
        raise UserError("\n  ".join([f"A class needs {MIN_PROFILES} profiles; {remedy}:", *lines]))


def count_kinds(candidates: Sequence[Candidate]) -> dict[str, int]:
    """Return kind of reason -> number of photos left out, sorted by kind."""
    return dict(sorted(Counter(each.kind for each in candidates if each.kind).items()))
