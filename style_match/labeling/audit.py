"""labeler.audit=CSV: agreement of the labels with those that a human gave to some of the photos."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import ConfusionMatrixDisplay, confusion_matrix

from style_match.data.records import Faults, nearest
from style_match.data.schema import Schema
from style_match.data.tables import read_table
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv, write_whole
from style_match.utils.plots import INK, figure, png
from style_match.utils.progress import say
from style_match.utils.text import shown

FOLDER, PAGE = "audit", "audit.md"
_LEGEND = (
    "Rows of the picture are the human's classes, columns the labeler's; precision and recall take the human as truth."
)

HumanLabels = dict[str, dict[str, str]]  # attribute -> image -> class
Interval = tuple[float, float, float]  # value, lower and upper bound; NaN if undefined


@dataclass(frozen=True)
class Agreement:
    """Agreement about one attribute.

    Attributes:
        matrix: (C, C) counts, rows: the human's class, columns: the labeler's, in the order of `classes`.
        num_missing: photos that only the human labelled.
        agreement: share of the photos with equal labels.
        kappa: Cohen's; undefined if both used one class only.
    """

    attribute: str
    classes: tuple[str, ...]
    matrix: NDArray[np.int64]
    num_missing: int
    agreement: Interval
    kappa: Interval

    def by_class(self) -> Iterable[tuple[str, float, float, int, int]]:
        """Yield (class, precision, recall, photos of the human, photos of the labeler); NaN for 0 of 0."""
        right, human, labeler = np.diag(self.matrix), self.matrix.sum(axis=1), self.matrix.sum(axis=0)
        with np.errstate(invalid="ignore"):
            columns = (right / labeler, right / human, human, labeler)
        return zip(self.classes, *(column.tolist() for column in columns), strict=True)


def own_files(folder: Path) -> list[Path]:
    """Return the folder of an earlier audit, whose pictures are not photos to label."""
    return [folder / FOLDER] if (folder / FOLDER / PAGE).exists() else []


def run(
    human: HumanLabels,
    lines: Mapping[str, Mapping[str, Any]],
    schema: Schema,
    out: Path,
    *,
    title: str,
    confidence: float,
    dpi: int,
    **bootstrap: Any,
) -> str:
    """Compare, write the files, and return the text to print.

    Args:
        lines: image -> attributes, as in metadata.jsonl.
        bootstrap: see `agreement`.

    Raises:
        UserError: No photo was labelled by both.
    """
    found = []
    for name, labels in human.items():
        classes = schema.class_names(name)
        both = [image for image in labels if lines.get(image, {}).get(name) in classes]
        pairs = [labels[image] for image in both], [lines[image][name] for image in both]
        if both:
            num_missing = len(labels) - len(both)
            found.append(agreement(name, *pairs, classes, num_missing=num_missing, confidence=confidence, **bootstrap))
    if not found:
        raise UserError("labeler.audit: no photo has both a label by the human and an answer.")
    paths = write_audit(out, found, title=title, confidence=confidence, dpi=dpi)
    return "\n".join(["", markdown(found, title, confidence), *map(str, paths)])


def read_human_labels(path: Path, schema: Schema, images: Collection[str], *, max_faults_shown: int) -> HumanLabels:
    """Read a CSV or Parquet file with the column `image` and one or more attributes; empty cells are no labels.

    Args:
        images: names of the photos.

    Raises:
        UserError: The file or a column is missing, or rows have unknown or repeated photos or unknown classes.
    """
    names = ", ".join(schema.nominal)
    if not path.is_file() or path.suffix not in (".csv", ".parquet"):
        what = "is neither .csv nor .parquet" if path.is_file() else "the file does not exist"
        raise UserError(f"labeler.audit={path}: {what}. Name a CSV with image and one or more of {names}.")
    faults = Faults(path.parent, max_faults_shown)
    table = read_table(path.parent, path.stem, (("image",),), faults)
    faults.raise_if_any()
    assert table is not None
    labels: HumanLabels = {name: {} for name in table.header if name in schema.nominal}
    others = [name for name in table.header if name not in (*labels, "image")]
    if not labels:
        hint = "".join(nearest(name, schema.nominal) for name in others)
        raise UserError(f"labeler.audit={path}: no column is one of {names}{hint}.")
    if others:
        say(f"audit: columns that are not attributes with classes are ignored: {', '.join(others)}")
    row_of: dict[str, int] = {}
    for row, record in table.records():
        image, where = record["image"], dict(file=path.name, place=table.place(row))
        if image not in images:
            faults.add(f"no photo is called {shown(image)}{nearest(image, images)}", **where, column="image")
        if (first := row_of.setdefault(image, row)) != row:
            faults.add(f"{shown(image)} is already in {table.place(first)}; remove one", **where, column="image")
        for name in labels:
            cell, classes = record[name], schema.class_names(name)
            if cell in classes:
                labels[name][image] = cell
            elif cell:
                what = f"{shown(cell)} is not a class{nearest(cell, classes)}; the classes are {', '.join(classes)}"
                faults.add(what, **where, column=name)
    faults.raise_if_any()
    return labels


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
    # resampling photos is resampling the cells of their table
    counts = np.random.default_rng(seed).multinomial(matrix.sum(), matrix.ravel() / matrix.sum(), size=num_resamples)
    tables = np.concatenate([matrix[None], counts.reshape(num_resamples, *matrix.shape)])  # (1 + resamples, C, C)
    shares = tables / tables.sum(axis=(1, 2), keepdims=True)
    observed = np.trace(shares, axis1=1, axis2=2)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        kappas = (observed - expected) / (1 - expected)
    intervals = _interval(observed, confidence), _interval(kappas, confidence)
    return Agreement(attribute, tuple(classes), matrix, num_missing, *intervals)


def _interval(values: NDArray[np.float64], confidence: float) -> Interval:
    """Return the first value with the quantiles of the others."""
    finite = values[1:][np.isfinite(values[1:])]
    if not len(finite):
        return float(values[0]), math.nan, math.nan
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(values[0]), float(low), float(high)


def write_audit(out: Path, found: Sequence[Agreement], *, title: str, confidence: float, dpi: int) -> list[Path]:
    """Write audit.md, audit.csv and a confusion matrix for each attribute into `out`/audit; returns their paths."""
    folder = out / FOLDER
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make {folder}: {error.strerror}. Set another out.") from error
    files: dict[str, str | bytes] = {PAGE: markdown(found, title, confidence), "audit.csv": _csv(found)}
    files |= {f"{each.attribute}.png": draw_confusion(each, title=title, dpi=dpi) for each in found}
    for name, content in files.items():
        write_whole(folder / name, content)
    return [folder / name for name in files]


def markdown(found: Sequence[Agreement], title: str, confidence: float) -> str:
    """Return the tables of audit.md."""
    rows = [f"# Labels compared with a human's, {title}", ""]
    rows += ["| attribute | photos | not answered | agreement | kappa |", "| --- | ---: | ---: | ---: | ---: |"]
    for each in found:
        share, low, high = map(_percent, each.agreement)
        kappa = "{:.2f} [{:.2f}, {:.2f}]".format(*each.kappa)
        kappa = "undefined: one class only" if math.isnan(each.kappa[0]) else kappa
        rows.append(
            f"| {each.attribute} | {each.matrix.sum()} | {each.num_missing} | {share} [{low}, {high}] | {kappa} |"
        )
    rows += ["", f"Agreement in percent, Cohen's kappa; {confidence:.0%} intervals: bootstrap over photos. {_LEGEND}"]
    for each in found:
        rows += ["", f"## {each.attribute}", "", f"![confusion matrix]({each.attribute}.png)", ""]
        rows += ["| class | precision | recall | human | labeler |", "| --- | ---: | ---: | ---: | ---: |"]
        for name, precision, recall, human, labeler in each.by_class():
            rows.append(f"| {name} | {_percent(precision)} | {_percent(recall)} | {human} | {labeler} |")
    return "\n".join(rows) + "\n"


def _csv(found: Sequence[Agreement]) -> str:
    """Return audit.csv: one row for each attribute (class empty), followed by its classes."""
    of_attribute = ("agreement", "agreement_low", "agreement_high", "kappa", "kappa_low", "kappa_high")
    header = ("attribute", "class", "photos", "not_answered", *of_attribute, "precision", "recall", "given")
    rows: list[tuple[object, ...]] = []
    for each in found:
        numbers = map(_cell, (*each.agreement, *each.kappa))
        rows.append((each.attribute, "", each.matrix.sum(), each.num_missing, *numbers, "", "", ""))
        for name, precision, recall, human, labeler in each.by_class():
            rows.append((each.attribute, name, human, *[""] * 7, _cell(precision), _cell(recall), labeler))
    return as_csv(header, rows)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def _cell(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6f}"


def draw_confusion(found: Agreement, *, title: str, dpi: int) -> bytes:
    """Return a PNG of the confusion matrix."""
    side = 2.2 + 0.75 * len(found.classes)
    drawing = figure(width=side + 0.9, height=side)
    axes = drawing.subplots()
    display = ConfusionMatrixDisplay(found.matrix, display_labels=found.classes)
    display.plot(ax=axes, cmap="Blues", colorbar=False, xticks_rotation=40, text_kw={"fontsize": 9})
    axes.tick_params(labelsize=8)
    axes.set(xlabel="labeler", ylabel="human")
    kappa = "undefined" if math.isnan(found.kappa[0]) else f"{found.kappa[0]:.2f}"
    axes.set_title(f"{found.attribute}: {found.matrix.sum()} photos, kappa {kappa}\n{title}", fontsize=9, color=INK)
    return png(drawing, dpi=dpi)
