"""`leave_out`: what each word of it leaves out, so that none does nothing in silence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import DictConfig, OmegaConf

from style_match.cli.targets import conf_dir
from style_match.curation.sources import (
    Columns,
    Source,
    SourcePhoto,
    classes_of,
    has_metadata,
    image_keys,
    split_folders,
)
from style_match.data.metadata import FILE_NAME, TABLE_NAME, names_photos, read_lines
from style_match.data.profiles import Profiles
from style_match.data.records import Faults, nearest
from style_match.data.tables import Table
from style_match.utils.errors import UserError
from style_match.utils.text import folded, plain, shown

# The labels of each photo: from the source's table, joined with metadata.jsonl, checked against the classes.


@dataclass(frozen=True)
class Labelled:
    """The source with the attributes among its columns, and each photo's metadata (None: there is none).

    Attributes:
        places: of each photo, attribute -> the line that says it; what its table says is not among them.
        files: of each photo, the name of the file of these lines.
    """

    source: Source
    metadata: tuple[dict[str, Any] | None, ...]
    places: tuple[dict[str, str], ...]
    files: tuple[str, ...]


def join(source: Source, file: Path | None, attributes: Sequence[str], columns: Columns, faults: Faults) -> Labelled:
    """Adds what metadata.jsonl (or .csv) says of each attribute; a table that says otherwise is a fault.

    Args:
        file: null: the source's own, where it has one. Images in it are named as in the source, or relative to the
            folder that it lies in.
    Raises:
        UserError: `file` is not there, or is called otherwise.
    """
    files, lines, said = _read(source, file, columns, faults)
    found = {name for each in said if each for name in each}
    header = tuple(dict.fromkeys([*source.header, *(name for name in attributes if name in found)]))
    photos = []
    places: list[dict[str, str]] = []
    for photo, name_of_file, line, metadata in zip(source.photos, files, lines, said, strict=True):
        cells = dict(photo.columns)
        places.append({})
        for name in attributes:
            value = (metadata or {}).get(name)
            if value is None:
                continue
            if not isinstance(value, str):
                faults.add(
                    f"{name} of {photo.image} is {shown(value)}, not a text", file=name_of_file, place=f"line {line}"
                )
            elif cells.get(name) and cells[name] != value:
                what = f"{shown(cells[name])} here, but {shown(value)} in {name_of_file}; correct one of them"
                faults.add(what, file=photo.place, column=name)
            elif not cells.get(name):
                cells[name] = value
                places[-1][name] = f"line {line}"
        photos.append(replace(photo, columns=cells))
    return Labelled(replace(source, photos=tuple(photos), header=header), tuple(said), tuple(places), tuple(files))


def _read(
    source: Source, file: Path | None, columns: Columns, faults: Faults
) -> tuple[list[str], list[int], list[dict[str, Any] | None]]:
    """(file of each photo's metadata, its line there, its object)."""
    if file is not None and (not file.is_file() or file.name not in (FILE_NAME, TABLE_NAME)):
        reason = f"is not called {FILE_NAME} or {TABLE_NAME}; rename it" if file.is_file() else "there is no such file"
        raise UserError(f"metadata={file}: {reason}")
    base = source.root if source.root.is_dir() else source.root.parent
    keys = image_keys(columns)
    has_rows = any(photo.row for photo in source.photos)
    splits = split_folders(base, keys) if file is None and source.kind == "tables" and not has_rows else []
    if splits and has_metadata(base, keys):
        faults.add(
            f"metadata is here and in {', '.join(splits)}; keep one of the two, or say which counts with metadata=FILE"
        )
        splits = []
    read: list[tuple[str, int, dict[str, Any] | None]] = [("", 0, None)] * len(source.photos)
    for split in splits or [""]:
        folder = file.parent if file is not None else base / split
        inner = faults.inside(split) if split else faults
        has_table = file is None and names_photos(folder / TABLE_NAME, keys)
        if has_table and (folder / FILE_NAME).is_file():
            remedy = "remove one, or say which counts with metadata=FILE"
            inner.add(f"{split and f'{split}: '}{FILE_NAME} and {TABLE_NAME} are both there; {remedy}")
        name = TABLE_NAME if has_table else file.name if file is not None else FILE_NAME
        # both spellings of an image are known: as the source has it, and relative to the metadata's own folder
        spellings = {
            place: _spellings(photo, folder)
            for place, photo in enumerate(source.photos)
            if not split or photo.image.startswith(f"{split}/")
        }
        rows = [(place + 1, (each,)) for place, names in spellings.items() for each in names]
        table = Table(Path(_said(source)), "row", ("image",), tuple(rows))
        nobody = Profiles(table, (), {}, {}, None, (), frozenset())
        found = read_lines(folder, nobody, inner, keys=keys, name=name)
        for place, names in spellings.items():
            line, about = next((found[each] for each in names if each in found), (0, None))
            read[place] = (f"{split}/{name}" if split else name, line, about)
        if columns.label != columns.to_label:
            for _, about in found.values():
                if columns.label in about and columns.to_label not in about:
                    about[columns.to_label] = about.pop(columns.label)
    return [name for name, _, _ in read], [line for _, line, _ in read], [about for _, _, about in read]


def _spellings(photo: SourcePhoto, folder: Path) -> list[str]:
    names = [str(PurePosixPath(photo.image))]
    if photo.path is not None and photo.path.is_relative_to(folder):
        names.append(plain(photo.path.relative_to(folder).as_posix()))
    return list(dict.fromkeys(names))


def _said(source: Source) -> str:
    """What has the photos, in words, where metadata names one that is not there."""
    return source.photos[0].file if source.photos and source.photos[0].row else "the source"


def check_classes(labelled: Labelled, allowed: Mapping[str, Sequence[str]], faults: Faults) -> None:
    """A fault for each line or row with a value outside the classes of its attribute."""
    for photo, lines, file in zip(labelled.source.photos, labelled.places, labelled.files, strict=True):
        for attribute, classes in allowed.items():
            value = photo.columns.get(attribute, "")
            if value and value not in classes:
                what = f"{shown(value)} is none of {', '.join(classes)}{nearest(value, classes)}"
                if attribute in lines:
                    faults.add(f"{attribute} of {photo.image}: {what}", file=file, place=lines[attribute])
                else:
                    faults.add(what, file=photo.place, column=attribute)


def check_agreement(photos: Sequence[SourcePhoto], label: str | None, faults: Faults) -> None:
    """A fault for photos of one profile that differ in what a profile has once."""
    once = [name for name in ("gender", "user_id", "split", label) if name]
    first: dict[str, SourcePhoto] = {}
    for photo in photos:
        earlier = first.setdefault(photo.profile_id, photo)
        for name in once:
            one, other = photo.columns.get(name, ""), earlier.columns.get(name, "")
            if one != other:
                remedy = "make them agree, or give each photo its own profile_id and the person's id as user_id"
                what = f"profile {shown(photo.profile_id)} has {shown(one)} here and {shown(other)} in {earlier.place}"
                faults.add(f"{what}; {remedy}", file=photo.place, column=name)


def check_writing(photos: Sequence[SourcePhoto], label: str, faults: Faults) -> None:
    """A fault for classes that differ in capitals and signs only."""
    written: dict[str, str] = {}
    for each in sorted({photo.columns.get(label, "") for photo in photos} - {""}):
        plain = "".join(letter for letter in folded(each) if letter.isalnum())
        if plain and written.setdefault(plain, each) != each:
            faults.add(
                f"classes {shown(written[plain])} and {shown(each)} differ in writing only; write them alike",
                column=label,
            )


UNLABELLED = "unlabelled"  # the one that is a switch


def attributes_of(cfg: DictConfig) -> dict[str, list[str]]:
    """Attribute -> values whose photos are left out.

    Raises:
        UserError: it is no list.
    """
    given: Any = OmegaConf.to_container(cfg.leave_out, resolve=True)
    found: dict[str, list[str]] = {}
    for name, wanted in given.items():
        if name == UNLABELLED:
            continue
        if not isinstance(wanted, list):
            raise UserError(f"leave_out.{name}={wanted}: write a list, such as leave_out.{name}=[{wanted}]")
        found[name] = [str(value) for value in wanted]
    return found


def check_filters(cfg: DictConfig, labelled: Labelled) -> list[str]:
    """Sentences about filters and attributes that find nothing, where that may be so.

    Raises:
        UserError: a name or a value that the command line gave is not known.
    """
    source = labelled.source
    said = {name for each in labelled.metadata if each for name in each}
    known = [*dict.fromkeys([*source.header, *sorted(said)])]
    notes = []
    own: Any = OmegaConf.load(conf_dir() / "prepare.yaml")
    for name, wanted in attributes_of(cfg).items():
        usual = own.leave_out.get(name, [])
        if wanted and name not in known:
            if wanted != usual:
                there = f"there is {', '.join(known)}" if known else "there are neither"
                raise UserError(
                    f"leave_out.{name}: is no column of the table and no attribute of metadata.jsonl"
                    f"{nearest(name, known)}; {there}"
                )
            notes.append(f"{name} is not known, so nobody is left out for it")
            continue
        values = sorted({photo.columns.get(name, "") for photo in source.photos} - {""})
        for value in wanted:
            if value not in values:
                notes.append(_absent(name, value, values, [*classes_of(cfg, name), *usual]))
    if said:
        lacking = [name for name in cfg.attributes if name not in known and name not in own.attributes]
        notes += [f"attributes: no photo has {name}{nearest(name, known)}" for name in lacking]
    return notes


def _absent(name: str, value: str, values: Sequence[str], usual: Sequence[str]) -> str:
    """The sentence for a value that no photo has. Raises UserError where it is no known value either."""
    twins = [each for each in values if each.casefold() == value.casefold()]
    if value not in usual or twins:
        one_of = [*dict.fromkeys([*values, *usual])]
        hint = f" (did you mean {twins[0]!r}?)" if twins else nearest(value, one_of)
        raise UserError(f"leave_out.{name}={value}: no photo is that{hint}; known are {', '.join(one_of)}")
    return f"no photo is {value} (leave_out.{name})"


def left_out_by(columns: Mapping[str, str], leave_out: Mapping[str, Sequence[str]]) -> str:
    """The reason to leave a photo out, or ""."""
    return next((f"{name} is {columns[name]}" for name, wanted in leave_out.items() if columns.get(name) in wanted), "")
