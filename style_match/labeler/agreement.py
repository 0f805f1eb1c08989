"""How far two who labelled the same photos agree: Cohen's kappa with its interval, and each class by itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, confusion_matrix, precision_recall_fscore_support

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
