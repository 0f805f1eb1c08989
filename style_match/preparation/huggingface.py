"""A folder of the `datasets` library on disk: one dataset, or a dictionary of train, validation and test."""

from pathlib import Path
from typing import Any

from style_match.data.faults import Faults, nearest
from style_match.data.image_path import ImagePaths
from style_match.errors import UserError
from style_match.preparation.source import (
    SPLIT_WORDS,
    Columns,
    Source,
    SourcePhoto,
    as_text,
    check_ids,
    check_rounded,
    content_of,
    to_split,
)
from style_match.spelling import plain


def read_huggingface(root: Path, columns: Columns, image_root: Path | None, faults: Faults) -> Source:
    """Its rows; photos stay on disk until they are asked for.

    Raises:
        UserError: the library is not installed, or cannot read the folder.
    """
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"source={root}: needs the library that wrote it: pip install 'style_match[huggingface]'"
        ) from None
    try:
        loaded = datasets.load_from_disk(str(root))
    except Exception as error:  # the library raises whatever it meets in damaged files
        raise UserError(f"source={root}: is no readable folder of `datasets` ({str(error).splitlines()[0]})") from error
    parts = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"": loaded}
    for name in parts:
        if name and name.lower() not in SPLIT_WORDS:
            faults.add(f"split {name!r} is none of {', '.join(SPLIT_WORDS)}; rename or remove it")
    images = ImagePaths(image_root or root, (root, image_root or root))
    photos: list[SourcePhoto] = []
    header: dict[str, None] = {}
    notes: list[str] = []
    for name, part in parts.items():
        split = to_split(name) if len(parts) > 1 else ""
        photos += _read_part(part, name, images, split, columns, header, notes, faults)
    check_rounded(photos, columns.profile_id, faults)
    check_ids(photos, faults, remedy="give each row its own id")
    return Source(root, "huggingface", tuple(photos), tuple(header), tuple(dict.fromkeys(notes)))


def _read_part(
    part: Any,
    name: str,
    images: ImagePaths,
    split: str,
    columns: Columns,
    header: dict[str, None],
    notes: list[str],
    faults: Faults,
) -> list[SourcePhoto]:
    import datasets

    file = name or "dataset"
    part = part.rename_columns({each: plain(each) for each in part.column_names if plain(each) != each})
    feature = part.features.get(columns.image)
    if not isinstance(feature, datasets.Image):
        pictures = [each for each, kind in part.features.items() if isinstance(kind, datasets.Image)]
        hint = f"; columns of images are: {', '.join(pictures)}" if pictures else nearest(columns.image, part.features)
        faults.add(f"{columns.image!r} is no column of images{hint}: write columns.image=NAME", file=file)
        return []
    columns.check(tuple(part.features), file, faults)
    raw = part.cast_column(columns.image, datasets.Image(decode=False))  # the file's bytes, not pixels
    others = [each for each in part.features if not isinstance(part.features[each], datasets.Image)]
    if left := [each for each in part.features if each not in (*others, columns.image)]:
        notes.append(f"other columns of images are not kept: {', '.join(left)}")
    table = part.select_columns(others).with_format(None)
    with_id = columns.profile_id in others
    if not with_id:
        notes.append(f"no column {columns.profile_id!r}: profiles are called after their row")
    photos = []
    for number, record in enumerate(table if others else [{}] * len(part)):
        texts = {each: _text(part.features[each], value) for each, value in record.items()}
        cells = columns.renamed(texts)
        if "split" in cells or split:
            cells["split"] = to_split(cells.get("split") or split)
        header.update(dict.fromkeys(cells))
        profile_id = texts[columns.profile_id] if with_id else f"{file}_{number + 1}"
        at = f"{file}, row {number + 1}"
        read = lambda number=number, at=at: content_of(raw[number][columns.image], images, at)  # noqa: E731
        photos.append(SourcePhoto(profile_id, f"{file} row {number + 1}", file, number + 1, cells, blob=read))
    return photos


def _text(feature: Any, value: Any) -> str:
    names = getattr(feature, "names", None)
    if names and isinstance(value, int):
        return plain(names[value]) if value >= 0 else ""  # -1 is the library's word for no label
    return as_text(value)
