"""labeler.audit=CSV: how far the labels agree with those that a human gave some of the photos."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, confusion_matrix, precision_recall_fscore_support

from style_match.data.records import Faults, nearest
from style_match.data.schema import Schema
from style_match.data.tables import read_table
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, write_whole
from style_match.utils.plots import INK, figure, png
from style_match.utils.text import shown

# How far two who labelled the same photos agree: Cohen's kappa with its interval, and each class by itself.


Interval = tuple[float, float]


@dataclass(frozen=True)
class OfClass:
    """One class with the human's label as the truth; precision and recall are NaN where they are 0 of 0."""

    name: str
    precision: float
    recall: float
    support: int  # photos to which the human gave it
    given: int  # photos to which the labeler gave it


@dataclass(frozen=True)
class Agreement:
    """Of one attribute.

    Attributes:
        matrix: (C, C) counts, row: the human's class, column: the labeler's, in the order of `classes`.
        kappa: NaN where chance alone would agree always (one class only); so are the bounds of its interval then.
        num_missing: photos that the human labelled and the labeler did not.
    """

    attribute: str
    matrix: NDArray[np.int64]
    classes: tuple[OfClass, ...]
    agreement: float
    agreement_interval: Interval
    kappa: float
    kappa_interval: Interval
    num_missing: int

    @property
    def num_photos(self) -> int:
        return int(self.matrix.sum())


def agreement(
    attribute: str,
    human: Sequence[str],
    labeler: Sequence[str],
    classes: Sequence[str],
    *,
    num_missing: int,
    confidence: float,
    num_resamples: int,
    seed: int,
) -> Agreement:
    """Compare two lists of labels of the same photos; percentile bootstrap over photos (Efron and Tibshirani 1993)."""
    matrix = confusion_matrix(human, labeler, labels=list(classes))
    precision, recall, _, support = precision_recall_fscore_support(
        human, labeler, labels=list(classes), zero_division=np.nan
    )
    # drawing photos with replacement is drawing the cells of their table
    drawn = np.random.default_rng(seed).multinomial(matrix.sum(), matrix.ravel() / matrix.sum(), size=num_resamples)
    samples = drawn.reshape(num_resamples, *matrix.shape)
    one_class = len({*human, *labeler}) == 1
    return Agreement(
        attribute,
        matrix,
        tuple(
            OfClass(name, float(precision[i]), float(recall[i]), int(support[i]), int(matrix[:, i].sum()))
            for i, name in enumerate(classes)
        ),
        float(np.trace(matrix) / matrix.sum()),
        _interval(_observed(samples), confidence),
        float("nan") if one_class else float(cohen_kappa_score(human, labeler, labels=list(classes))),
        _interval(_kappas(samples), confidence),
        num_missing,
    )


def _observed(samples: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.trace(samples, axis1=1, axis2=2) / samples.sum(axis=(1, 2))


def _kappas(samples: NDArray[np.int64]) -> NDArray[np.float64]:
    """Kappa of each (C, C) table; NaN where both gave one class alone (Cohen 1960)."""
    shares = samples / samples.sum(axis=(1, 2), keepdims=True)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (_observed(samples) - expected) / (1 - expected)


def _interval(values: NDArray[np.float64], confidence: float) -> Interval:
    """NaN where no resample has a value."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


# The confusion matrix of an attribute as a picture.


def draw_confusion(found: Agreement, *, title: str, dpi: int) -> bytes:
    """PNG: counts in the cells, shaded by their share of the row; row: the human's class, column: the labeler's."""
    names = [each.name for each in found.classes]
    side = 2.2 + 0.75 * len(names)
    drawing = figure(width=side + 0.9, height=side)
    axes = drawing.subplots()
    totals = found.matrix.sum(axis=1, keepdims=True)
    shares = found.matrix / np.maximum(totals, 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(found.matrix):
        colour = "white" if shares[row, column] > 0.5 else INK
        axes.text(column, row, str(count), ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("labeler", fontsize=9)
    axes.set_ylabel("human", fontsize=9)
    kappa = "undefined" if np.isnan(found.kappa) else f"{found.kappa:.2f}"
    axes.set_title(f"{found.attribute}: {found.num_photos} photos, kappa {kappa}\n{title}", fontsize=9, color=INK)
    for edge in axes.spines.values():
        edge.set_visible(False)
    return png(drawing, dpi=dpi)


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
    pass

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
    pass

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
