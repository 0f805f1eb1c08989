"""labeler.audit=CSV: agreement of the labels with those that a human gave to some of the photos."""

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
from style_match.utils.progress import say
from style_match.utils.text import shown

FOLDER, PAGE = "audit", "audit.md"
_LEGEND = (
    "Rows of the picture are the human's classes, columns the labeler's; precision and recall take the human as truth."
)

Interval = tuple[float, float]


@dataclass(frozen=True)
class HumanLabels:
    """`labels`: attribute -> image -> class; `ignored`: columns of the file that are not attributes with classes."""

    path: Path
    labels: dict[str, dict[str, str]]
    ignored: tuple[str, ...]


@dataclass(frozen=True)
class ClassScores:
    """One class, with the human's labels as truth; NaN for 0 of 0."""

    name: str
    precision: float
    recall: float
    support: int  # photos with this label by the human
    given: int  # photos with this label by the labeler


@dataclass(frozen=True)
class Agreement:
    """Agreement about one attribute.

    Attributes:
        matrix: (C, C) counts, rows: the human's class, columns: the labeler's, in the order of `classes`.
        kappa: NaN, like its interval, if both used one class only.
        num_missing: photos that only the human labelled.
    """

    attribute: str
    matrix: NDArray[np.int64]
    classes: tuple[ClassScores, ...]
    agreement: float
    agreement_interval: Interval
    kappa: float
    kappa_interval: Interval
    num_missing: int

    @property
    def num_photos(self) -> int:
        return int(self.matrix.sum())


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
    num_resamples: int,
    seed: int,
    dpi: int,
) -> str:
    """Compare, write the files, and return the text to print.

    Args:
        lines: image -> attributes, as in metadata.jsonl.

    Raises:
        UserError: No photo was labelled by both.
    """
    if human.ignored:
        say(f"audit: columns that are not attributes with classes are ignored: {', '.join(human.ignored)}")
    found = []
    for name, labels in human.labels.items():
        classes = schema.class_names(name)
        both = [image for image in labels if lines.get(image, {}).get(name) in classes]
        if both:
            found.append(
                agreement(
                    name,
                    [labels[image] for image in both],
                    [lines[image][name] for image in both],
                    classes,
                    num_missing=len(labels) - len(both),
                    confidence=confidence,
                    num_resamples=num_resamples,
                    seed=seed,
                )
            )
    if not found:
        raise UserError(f"labeler.audit={human.path}: no photo has both a label by the human and an answer.")
    paths = write_audit(out, found, title=title, confidence=confidence, dpi=dpi)
    return "\n".join(["", markdown(found, title, confidence), *map(str, paths)])


def read_human_labels(path: Path, schema: Schema, images: Mapping[str, Any], *, max_faults_shown: int) -> HumanLabels:
    """Read a CSV or Parquet file with the column `image` and one or more attributes; empty cells are no labels.

    Args:
        images: the photos by name.

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
    attributes = [name for name in table.header if name in schema.nominal]
    others = tuple(name for name in table.header if name not in (*attributes, "image"))
    if not attributes:
        hint = "".join(nearest(name, schema.nominal) for name in others)
        raise UserError(f"labeler.audit={path}: no column is one of {names}{hint}.")
    labels: dict[str, dict[str, str]] = {name: {} for name in attributes}
    row_of: dict[str, int] = {}
    for row, record in table.records():
        image, where = record["image"], dict(file=path.name, place=table.place(row))
        if image not in images:
            faults.add(f"no photo is called {shown(image)}{nearest(image, images)}", **where, column="image")
        if (first := row_of.setdefault(image, row)) != row:
            faults.add(f"{shown(image)} is already in {table.place(first)}; remove one", **where, column="image")
        for name in attributes:
            cell, classes = record[name], schema.class_names(name)
            if cell and cell not in classes:
                what = f"{shown(cell)} is not a class{nearest(cell, classes)}; the classes are {', '.join(classes)}"
                faults.add(what, **where, column=name)
            elif cell:
                labels[name][image] = cell
    faults.raise_if_any()
    return HumanLabels(path, {name: cells for name, cells in labels.items() if cells}, others)


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
    # resampling photos is resampling the cells of their table
    counts = np.random.default_rng(seed).multinomial(matrix.sum(), matrix.ravel() / matrix.sum(), size=num_resamples)
    samples = counts.reshape(num_resamples, *matrix.shape)  # (resamples, C, C)
    one_class = len({*human, *labeler}) == 1
    return Agreement(
        attribute,
        matrix,
        tuple(
            ClassScores(name, float(precision[i]), float(recall[i]), int(support[i]), int(matrix[:, i].sum()))
            for i, name in enumerate(classes)
        ),
        float(np.trace(matrix) / matrix.sum()),
        _interval(_observed(samples), confidence),
        math.nan if one_class else float(cohen_kappa_score(human, labeler, labels=list(classes))),
        _interval(_kappas(samples), confidence),
        num_missing,
    )


def _observed(samples: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.trace(samples, axis1=1, axis2=2) / samples.sum(axis=(1, 2))


def _kappas(samples: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Cohen's kappa of each (C, C) table; NaN if both used one class only."""
    shares = samples / samples.sum(axis=(1, 2), keepdims=True)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (_observed(samples) - expected) / (1 - expected)


def _interval(values: NDArray[np.float64], confidence: float) -> Interval:
    finite = values[np.isfinite(values)]
    if not len(finite):
        return math.nan, math.nan
    low, high = np.quantile(finite, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


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
        low, high = map(_percent, each.agreement_interval)
        kappa = "undefined: one class only"
        if not math.isnan(each.kappa):
            kappa = f"{each.kappa:.2f} [{each.kappa_interval[0]:.2f}, {each.kappa_interval[1]:.2f}]"
        agreed = f"{_percent(each.agreement)} [{low}, {high}]"
        rows.append(f"| {each.attribute} | {each.num_photos} | {each.num_missing} | {agreed} | {kappa} |")
    rows += ["", f"Agreement in percent, Cohen's kappa; {confidence:.0%} intervals: bootstrap over photos. {_LEGEND}"]
    for each in found:
        rows += ["", f"## {each.attribute}", "", f"![confusion matrix]({each.attribute}.png)", ""]
        rows += ["| class | precision | recall | human | labeler |", "| --- | ---: | ---: | ---: | ---: |"]
        rows += [
            f"| {one.name} | {_percent(one.precision)} | {_percent(one.recall)} | {one.support} | {one.given} |"
            for one in each.classes
        ]
    return "\n".join(rows) + "\n"


def _csv(found: Sequence[Agreement]) -> str:
    """Return audit.csv: one row for each attribute (class empty), followed by its classes."""
    of_attribute = ("agreement", "agreement_low", "agreement_high", "kappa", "kappa_low", "kappa_high")
    header = ("attribute", "class", "photos", "not_answered", *of_attribute, "precision", "recall", "given")
    rows: list[tuple[object, ...]] = []
    for each in found:
        numbers = (each.agreement, *each.agreement_interval, each.kappa, *each.kappa_interval)
        rows.append((each.attribute, "", each.num_photos, each.num_missing, *map(_cell, numbers), "", "", ""))
        for one in each.classes:
            scores = (_cell(one.precision), _cell(one.recall), one.given)
            rows.append((each.attribute, one.name, one.support, "", *[""] * len(of_attribute), *scores))
    return as_csv(header, rows)


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{100 * share:.1f}"


def _cell(number: float) -> str:
    return "" if math.isnan(number) else f"{number:.6f}"


def draw_confusion(found: Agreement, *, title: str, dpi: int) -> bytes:
    """Return a PNG of the confusion matrix: counts in the cells, shaded by their share of the row."""
    names = [each.name for each in found.classes]
    side = 2.2 + 0.75 * len(names)
    drawing = figure(width=side + 0.9, height=side)
    axes = drawing.subplots()
    shares = found.matrix / np.maximum(found.matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(found.matrix):
        colour = "white" if shares[row, column] > 0.5 else INK
        axes.text(column, row, str(count), ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", fontsize=8)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_xlabel("labeler", fontsize=9)
    axes.set_ylabel("human", fontsize=9)
    kappa = "undefined" if math.isnan(found.kappa) else f"{found.kappa:.2f}"
    axes.set_title(f"{found.attribute}: {found.num_photos} photos, kappa {kappa}\n{title}", fontsize=9, color=INK)
    for edge in axes.spines.values():
        edge.set_visible(False)
    return png(drawing, dpi=dpi)
