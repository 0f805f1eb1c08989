"""labeler.audit=CSV: how far the labels agree with those that a human gave some of the photos."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from style_match.csvs import as_csv
from style_match.data.faults import Faults, nearest
from style_match.data.table import read_table
from style_match.errors import UserError
from style_match.files import write_whole
from style_match.schema import Schema
from style_match.spelling import shown

if TYPE_CHECKING:
    from style_match.labeler.agreement import Agreement

FOLDER, PAGE = "audit", "audit.md"
NOTE = "Rows of the picture are the human's class, columns the labeler's; precision and recall take the human for true."


@dataclass(frozen=True)
class HumanLabels:
    """`labels`: attribute -> image -> class; `passed_over`: columns of the file that are no attribute with classes."""

    path: Path
    labels: dict[str, dict[str, str]]
    passed_over: tuple[str, ...]


def read_human_labels(path: Path, schema: Schema, images: Mapping[str, Any], *, max_faults_shown: int) -> HumanLabels:
    """Reads a CSV with the column `image` and one or more attributes; an empty cell is no label.

    Args:
        images: the photos by their names.

    Raises:
        UserError: no such file, no such columns, photos that are not there or stand twice, labels that are no class.
    """
    if not path.is_file() or path.suffix not in (".csv", ".parquet"):
        what = "is neither .csv nor .parquet" if path.is_file() else "there is no such file"
        raise UserError(f"labeler.audit={path}: {what}. Name a CSV with image and one or more of {_named(schema)}.")
    faults = Faults(path.parent, max_faults_shown)
    table = read_table(path.parent, path.stem, (("image",),), faults)
    faults.raise_if_any()
    assert table is not None
    attributes = [name for name in table.header if name in schema.nominal]
    others = tuple(name for name in table.header if name not in (*attributes, "image"))
    if not attributes:
        hint = "".join(nearest(name, schema.nominal) for name in others)
        raise UserError(f"labeler.audit={path}: no column is one of {_named(schema)}{hint}.")
    labels: dict[str, dict[str, str]] = {name: {} for name in attributes}
    row_of: dict[str, int] = {}
    for row, record in table.records():
        image, where = record["image"], dict(file=path.name, place=table.place(row))
        if image not in images:
            faults.add(f"no photo is called {shown(image)}{nearest(image, images)}", **where, column="image")
        if (first := row_of.setdefault(image, row)) != row:
            faults.add(f"{shown(image)} stands already in {table.place(first)}; remove one", **where, column="image")
        for name in attributes:
            cell, classes = record[name], schema.class_names(name)
            if cell and cell not in classes:
                what = f"{shown(cell)} is no class{nearest(cell, classes)}; the classes are {', '.join(classes)}"
                faults.add(what, **where, column=name)
            elif cell:
                labels[name][image] = cell
    faults.raise_if_any()
    return HumanLabels(path, {name: given for name, given in labels.items() if given}, others)


def compare(
    human: HumanLabels, lines: Mapping[str, Mapping[str, Any]], schema: Schema, **options: Any
) -> "list[Agreement]":
    """Each attribute that both labelled.

    Args:
        lines: image -> attributes, as metadata.jsonl has them.
        options: `confidence`, `num_resamples`, `seed` of the intervals.

    Raises:
        UserError: no photo was labelled by both.
    """
    from style_match.labeler.agreement import agreement

    found = []
    for name, given in human.labels.items():
        classes = schema.class_names(name)
        both = [image for image in given if lines.get(image, {}).get(name) in classes]
        if both:
            said = [lines[image][name] for image in both]
            truth, missing = [given[image] for image in both], len(given) - len(both)
            found.append(agreement(name, truth, said, classes, num_missing=missing, **options))
    if not found:
        raise UserError(f"labeler.audit={human.path}: none of its photos has both a human's label and an answer.")
    return found


def write_audit(out: Path, found: "list[Agreement]", *, title: str, confidence: float, dpi: int) -> list[Path]:
    """Write audit.md, audit.csv and a confusion matrix for each attribute into `out`/audit; returns their paths."""
    from style_match.labeler.confusion import draw_confusion

    folder = out / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make {folder}: {error.strerror}. Give another out.") from error
    files: dict[str, str | bytes] = {PAGE: markdown(found, title, confidence), "audit.csv": _rows(found)}
    files |= {f"{one.attribute}.png": draw_confusion(one, title=title, dpi=dpi) for one in found}
    for name, content in files.items():
        write_whole(folder / name, content)
    return [folder / name for name in files]


def markdown(found: "list[Agreement]", title: str, confidence: float) -> str:
    """The tables of audit.md."""
    rows = [f"# Labels against a human's, {title}", "", "| attribute | photos | not answered | agreement | kappa |"]
    rows += ["| --- | ---: | ---: | ---: | ---: |"]
    for one in found:
        agreed = f"{_percent(one.agreement)} [{_percent(one.agreement_interval[0])}, "
        agreed += f"{_percent(one.agreement_interval[1])}]"
        kappa = "undefined: one class only"
        if not math.isnan(one.kappa):
            kappa = f"{one.kappa:.2f} [{one.kappa_interval[0]:.2f}, {one.kappa_interval[1]:.2f}]"
        rows.append(f"| {one.attribute} | {one.num_photos} | {one.num_missing} | {agreed} | {kappa} |")
    rows += ["", f"Agreement in percent, Cohen's kappa; {confidence:.0%} intervals: bootstrap over photos. {NOTE}"]
    for one in found:
        rows += ["", f"## {one.attribute}", "", f"![confusion matrix]({one.attribute}.png)", ""]
        rows += [
            "| class | precision | recall | by the human | by the labeler |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        rows += [
            f"| {each.name} | {_percent(each.precision)} | {_percent(each.recall)} | {each.support} | {each.given} |"
            for each in one.classes
        ]
    return "\n".join(rows) + "\n"


def _rows(found: "list[Agreement]") -> str:
    """audit.csv: one row an attribute (class empty), then one row each of its classes."""
    of_attribute = ("agreement", "agreement_low", "agreement_high", "kappa", "kappa_low", "kappa_high")
    header = ("attribute", "class", "photos", "not_answered", *of_attribute, "precision", "recall", "given")
    rows: list[tuple[object, ...]] = []
    for one in found:
        numbers = (one.agreement, *one.agreement_interval, one.kappa, *one.kappa_interval)
        rows.append((one.attribute, "", one.num_photos, one.num_missing, *map(_cell, numbers), "", "", ""))
        for each in one.classes:
            scores = (_cell(each.precision), _cell(each.recall), each.given)
            rows.append((one.attribute, each.name, each.support, "", *[""] * len(of_attribute), *scores))
    return as_csv(header, rows)


def _named(schema: Schema) -> str:
    return ", ".join(schema.nominal)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def _cell(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6f}"
