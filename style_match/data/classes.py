"""classes.json: which classes there are, each at the place that is its number, whatever rows come and go."""

import json
from collections.abc import Mapping
from pathlib import Path

from style_match.data.faults import Faults, nearest
from style_match.data.profiles import Profiles
from style_match.data.table import read_text
from style_match.spelling import plain_keys_and_values, shown

FILE_NAME = "classes.json"
KEYS = ("column", "classes")


def read_classes(root: Path, profiles: Profiles | None, label_column: str, faults: Faults) -> tuple[str, ...]:
    """The classes of `label_column` by their numbers; () where there is no file, or one of another column.

    A label that is none of them is a fault, named with its line.
    """
    path = root / FILE_NAME
    if not path.exists():
        return ()
    text = read_text(path, faults)
    if text is None:
        return ()
    try:
        found = plain_keys_and_values(json.loads(text))
    except (ValueError, RecursionError) as error:
        faults.add(f"is broken JSON ({error}); restore it, or delete it to number the classes anew", file=FILE_NAME)
        return ()
    before = len(faults)
    _check(found, faults)
    if len(faults) > before or found["column"] != label_column:
        return ()
    classes = tuple(found["classes"])
    if profiles is not None:
        _check_labels(profiles.labels, classes, profiles, label_column, faults)
    return classes


def _check(found: object, faults: Faults) -> None:
    if not isinstance(found, dict):
        faults.add('is not an object; write {"column": "fashion_style", "classes": [...]}', file=FILE_NAME)
        return
    for key in found.keys() - set(KEYS):
        faults.add(f"unknown key {shown(key)}{nearest(key, KEYS)}; the keys are {', '.join(KEYS)}", file=FILE_NAME)
    column, classes = (found.get(key) for key in KEYS)
    if not isinstance(column, str) or not column:
        faults.add('"column" is not the name of a column of the profiles table', file=FILE_NAME)
    if not isinstance(classes, list) or not all(
        isinstance(name, str) and name.strip() == name != "" for name in classes
    ):
        faults.add('"classes" is not a list of class names without spaces around them', file=FILE_NAME)
    elif len(classes) < 2:
        faults.add(f'"classes" names {len(classes)}; styles need two or more', file=FILE_NAME)
    else:
        for each in sorted({each for each in classes if classes.count(each) > 1}):
            faults.add(f"class {shown(each)} stands twice; a class has one number", file=FILE_NAME)


def _check_labels(
    labels: Mapping[str, str], classes: tuple[str, ...], profiles: Profiles, label_column: str, faults: Faults
) -> None:
    row_of: dict[str, int] = {}
    for photo in profiles.photos:
        row_of.setdefault(photo.profile_id, photo.row)
    for profile_id, label in labels.items():
        if label and label not in classes:
            what = (
                f"{shown(label)} is no class of {FILE_NAME}{nearest(label, classes)}; correct it or add it at the end"
            )
            place = profiles.table.place(row_of[profile_id]) if profile_id in row_of else ""
            faults.add(what, file=profiles.table.path.name, place=place, column=label_column)
