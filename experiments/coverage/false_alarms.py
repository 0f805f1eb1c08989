"""How often the tests of style_match.reporting.statistics call two equal models different at alpha 0.05.

    python experiments/coverage/false_alarms.py

About a minute on one core.
"""

import numpy as np
from coverage import COUPLES
from seeds import BOTH, INTERVAL, NORMAL, latents

from style_match.evaluation.sign_test import sign_flip
from style_match.reporting.statistics import (
    NOT_DISTINGUISHABLE,
    seed_differences,
    t_test,
    verdict,
)

ALPHA = 0.05


def percent(calls: list[bool]) -> str:
    return f"{100 * np.mean(calls):.1f}"


def flips(repeats: int = 1000, kept: float = 0.7) -> None:
    """Two models of equal merit on 75 couples, two correlated queries each: hits at p, and 1 / rank of random ranks."""
    print(f"\nSign flips over couples, {repeats} simulations (standard error 0.7 points): percent called different\n")
    print("| seeds | seed effect | score | sign flips | interval leaves out 0 | verdict: both |\n" + "|---" * 6 + "|")
    generator = np.random.default_rng(8)
    for num_seeds, effect in ((1, 0.0), (3, 0.0), (5, 0.0), (1, 0.05), (3, 0.05), (5, 0.05), (5, 0.1)):
        made = latents(num_seeds, kept, effect, generator, repeats)
        rank = 1 + np.searchsorted([NORMAL.inv_cdf(r / COUPLES) for r in range(1, COUPLES)], made)
        scored = {f"hit at {p}": (made < NORMAL.inv_cdf(p)).astype(float) for p in (0.1, 0.5, 0.95)}
        for name, (one, other) in (scored | {"1 / rank": 1 / rank}).items():
            if effect and name not in ("hit at 0.5", "1 / rank"):
                continue
            intervals = seed_differences(one - other, BOTH, **INTERVAL)
            average = (one - other).mean(0)
            p_values = [sign_flip(column, BOTH, num_resamples=999, seed=i) for i, column in enumerate(average.T)]
            called = [i.low > 0 or i.high < 0 for i in intervals]
            both = [verdict(i, p, ALPHA) != NOT_DISTINGUISHABLE for i, p in zip(intervals, p_values, strict=True)]
            shown = " | ".join((percent([p <= ALPHA for p in p_values]), percent(called), percent(both)))
            print(f"| {num_seeds} | {effect} | {name} | {shown} |", flush=True)


def centroids(train: np.ndarray, test: np.ndarray) -> float:
    """Return the accuracy of the nearer of two class centres; the last column is the class, 0 or 1."""
    centres = [train[train[:, -1] == label, :-1].mean(0) for label in (0, 1)]
    towards = (test[:, :-1] - (centres[0] + centres[1]) / 2) @ (centres[1] - centres[0])
    return float(((towards > 0) == test[:, -1]).mean())


def ridge_map(train: np.ndarray, test: np.ndarray) -> float:
    """Return the MRR among the test couples of a ridge map from the first half of the columns to the second."""
    width = train.shape[1] // 2
    left, right = train[:, :width], train[:, width:]
    mapped = test[:, :width] @ np.linalg.solve(left.T @ left + 10 * np.eye(width), left.T @ right)
    answers = test[:, width:] / np.linalg.norm(test[:, width:], axis=1, keepdims=True)
    similarity = mapped @ answers.T
    return float((1 / (similarity >= similarity.diagonal()[:, None]).sum(1)).mean())


def splits(datasets: int = 600) -> None:
    """Two learners that see different, equally good columns of the same data, so neither is better on average."""
    print(f"\nRepeated splits, {datasets} data sets (standard error 0.9 points): percent called different\n")
    print("| learner | rows | splits | corrected t | uncorrected t |\n" + "|---" * 5 + "|")

    def classes(count: int) -> tuple[np.ndarray, ...]:
        label = generator.integers(0, 2, (count, 1)).astype(float)
        return tuple(np.hstack([generator.standard_normal((count, 8)) + 0.35 * label, label]) for _ in range(2))

    def pairs(count: int) -> tuple[np.ndarray, ...]:
        taste = generator.standard_normal((count, 6))
        made = []
        for _ in range(2):
            left, right = taste + generator.standard_normal((2, count, 6))
            made.append(np.hstack([left, right @ turn]))
        return tuple(made)

    generator = np.random.default_rng(9)
    turn = np.linalg.qr(generator.standard_normal((6, 6)))[0]
    for name, draw, learner, count in (
        ("centroids, accuracy", classes, centroids, 200),
        ("ridge map, MRR", pairs, ridge_map, 495),
    ):
        for kind, repeated in (("10 of 85/15", 10), ("5 of 85/15", 5), ("5 folds", None)):
            calls: tuple[list[bool], list[bool]] = ([], [])
            for _ in range(datasets):
                views = draw(count)
                order = generator.permutation(count)
                if repeated is None:
                    parts = np.array_split(order, 5)
                else:
                    parts = [generator.permutation(count)[: round(0.15 * count)] for _ in range(repeated)]
                differences = []
                for part in parts:
                    rest = np.setdiff1d(order, part)
                    one, other = (learner(view[rest], view[part]) for view in views)
                    differences.append(one - other)
                share = len(parts[0]) / (count - len(parts[0]))
                corrected = t_test(differences, test_share=share, confidence=0.95)[1]
                plain = t_test(differences, confidence=0.95)[1]
                for called, p in zip(calls, (corrected, plain), strict=True):
                    called.append(p is not None and p <= ALPHA)  # None if all differences are equal
            print(f"| {name} | {count} | {kind} | {percent(calls[0])} | {percent(calls[1])} |", flush=True)


if __name__ == "__main__":
    print("## Tests: false alarms at alpha 0.05")
    flips()
    splits()
