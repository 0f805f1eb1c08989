"""Labels of photos: the source's own columns joined with metadata.jsonl, checked against the allowed classes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import DictConfig

from style_match.curation.sources import Columns, Source, SourcePhoto, has_metadata, split_folders
from style_match.data.metadata import FILE_NAME, TABLE_NAME, names_photos, read_lines
from style_match.data.profiles import Profiles
from style_match.data.records import Faults, nearest
from style_match.data.tables import Table
from style_match.utils.errors import UserError
from style_match.utils.text import plain, shown


def join_labels(
    source: Source, file: Path | None, attributes: Sequence[str], columns: Columns, faults: Faults
) -> Source:
    """Return the source with the metadata of its photos, and with `attributes` of the metadata among its columns.

    Args:
        file: A metadata.jsonl or metadata.csv; None: the source's own, also one per split folder.

    Raises:
        UserError: `file` does not exist or has another name.
    """
    photos = list(source.photos)
    found_attributes: set[str] = set()
    for split, path in _metadata_files(source, file, columns.image_keys, faults):
        # an image is found by its name in the source, and by its path relative to the metadata
        names = {
            place: _spellings(photo, path.parent)
            for place, photo in enumerate(source.photos)
            if not split or photo.image.startswith(f"{split}/")
        }
        rows = tuple((1, (name,)) for spellings in names.values() for name in spellings)
        listed = Table(Path(source.table or "the source"), "row", ("image",), rows)
        profiles = Profiles(listed, (), {}, {}, None, (), frozenset())
        inner = faults.inside(split) if split else faults
        found = read_lines(path.parent, profiles, inner, keys=columns.image_keys, name=path.name)
        for place, spellings in names.items():
            line, metadata = next((found[name] for name in spellings if name in found), (0, None))
            if metadata is not None:
                if columns.to_label not in metadata and columns.label in metadata:
                    metadata = {columns.to_label if key == columns.label else key: metadata[key] for key in metadata}
                found_attributes.update(metadata)
                where = f"{split}/{path.name}" if split else path.name
                photos[place] = _with_labels(photos[place], metadata, f"{where}, line {line}", attributes, faults)
    header = dict.fromkeys([*source.header, *(name for name in attributes if name in found_attributes)])
    return replace(source, photos=tuple(photos), header=tuple(header))


def _metadata_files(source: Source, given: Path | None, keys: Sequence[str], faults: Faults) -> list[tuple[str, Path]]:
    """(split folder or "", file) of each file of metadata; the file need not exist."""
    if given is not None:
        if not given.is_file():
            raise UserError(f"metadata={given}: there is no such file")
        if given.name not in (FILE_NAME, TABLE_NAME):
            raise UserError(f"metadata={given}: rename the file to {FILE_NAME} or {TABLE_NAME}")
        return [("", given)]
    base = source.root if source.root.is_dir() else source.root.parent
    splits = split_folders(base, keys) if source.kind == "tables" and not source.table else []
    if splits and has_metadata(base, keys):
        faults.add(f"metadata is here and in {', '.join(splits)}; keep one of the two, or choose with metadata=FILE")
        splits = []
    files = []
    for split in splits or [""]:
        folder = base / split
        has_table = names_photos(folder / TABLE_NAME, keys)
        if has_table and (folder / FILE_NAME).is_file():
            both = f"{FILE_NAME} and {TABLE_NAME} both exist; remove one, or choose with metadata=FILE"
            faults.add(f"{split}: {both}" if split else both)
        files.append((split, folder / (TABLE_NAME if has_table else FILE_NAME)))
    return files


def _spellings(photo: SourcePhoto, folder: Path) -> list[str]:
    names = [str(PurePosixPath(photo.image))]
    if photo.path is not None and photo.path.is_relative_to(folder):
        names.append(plain(photo.path.relative_to(folder).as_posix()))
    return list(dict.fromkeys(names))


def _with_labels(
    photo: SourcePhoto, metadata: dict[str, Any], place: str, attributes: Sequence[str], faults: Faults
) -> SourcePhoto:
    """Fill the photo's empty columns from its metadata; a fault where the two disagree."""
    cells, places = dict(photo.columns), {}
    for name in attributes:
        value = metadata.get(name)
        if value is None:
            continue
        if not isinstance(value, str):
            faults.add(f"{name} of {photo.image} is {shown(value)}, not a text", file=place)
        elif not cells.get(name):
            cells[name], places[name] = value, place
        elif cells[name] != value:
            what = f"{shown(cells[name])} here, but {shown(value)} in {place}; correct one of them"
            faults.add(what, file=photo.place, column=name)
    return replace(photo, columns=cells, metadata=metadata, label_places=places)


def allowed_classes(cfg: DictConfig, attribute: str) -> list[str]:
    """Return the classes that `classes` or the schema allows for an attribute, [] if any are."""
    if attribute == cfg.label and cfg.classes is not None:
        return list(cfg.classes)
    schema = cfg.get("schema")
    if not schema:
        return []
    from style_match.data.schema import Schema

    return list(Schema.from_config(schema, f"schema/{schema.name}.yaml").class_names(attribute))


def check_classes(photos: Sequence[SourcePhoto], allowed: Mapping[str, Sequence[str]], faults: Faults) -> None:
    """Add a fault for each line or row with a value outside the allowed classes of its attribute."""
    for photo in photos:
        for attribute, classes in allowed.items():
            value = photo.columns.get(attribute, "")
            if value and value not in classes:
                what = f"{shown(value)} is none of {', '.join(classes)}{nearest(value, classes)}"
                if place := photo.label_places.get(attribute):
                    faults.add(f"{attribute} of {photo.image}: {what}", file=place)
                else:
                    faults.add(what, file=photo.place, column=attribute)


def check_agreement(photos: Sequence[SourcePhoto], label: str | None, faults: Faults) -> None:
    """Add a fault for photos of one profile that differ in a column that a profile has once."""
    first: dict[str, SourcePhoto] = {}
    for photo in photos:
        earlier = first.setdefault(photo.profile_id, photo)
        for name in filter(None, ("gender", "user_id", "split", label)):
            one, other = photo.columns.get(name, ""), earlier.columns.get(name, "")
            if one != other:
                remedy = "make them agree, or give each photo its own profile_id and the person's id as user_id"
                what = f"profile {shown(photo.profile_id)} has {shown(one)} here and {shown(other)} in {earlier.place}"
                faults.add(f"{what}; {remedy}", file=photo.place, column=name)
