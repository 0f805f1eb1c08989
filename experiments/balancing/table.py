"""What balancing does to each class: `python experiments/balancing/table.py SWEEP`.

Writes results.csv (a line a run and class), table.md and classes.png beside this file.
"""

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from style_match.evaluation.bootstrap import Interval
from style_match.evaluation.tables import heading
from style_match.reporting.pages import column_of
from style_match.reporting.runs import Run, read_runs
from style_match.reporting.statistics import seed_differences, seed_means
from style_match.utils.plots import COLOURS, figure, save

HERE = Path(__file__).resolve().parent
INTERVAL = {"confidence": 0.95, "num_resamples": 2000, "seed": 0}
SAMPLERS = {"plain60": "plain", "pk60": "PK"}
WAYS = {"none": "as it is", "cap": "cap", "fill": "fill, 4 views", "cap_fill": "cap, fill, 4 views"}
METRICS = ("recall@1", "precision@5", "recall@5")
ALL = "all classes"
OTHERS = "the four small"


class Cells:
    """The scores of a sweep: (S, Q, M) of S seeds for each sampler and way, on Q test queries."""

    def __init__(self, runs: Sequence[Run]):
        self.runs: dict[tuple[str, str], list[Run]] = {}
        for run in sorted(runs, key=lambda run: run.config.seed):
            self.runs.setdefault((run.value("choices.sampler"), run.value("choices.row")), []).append(run)
        first = runs[0]
        asked = first.queries("frozen").columns
        label_of = column_of(first, "fashion_style")
        self.labels = np.array([label_of[query] for query in asked["query"]])
        self.clusters = asked["cluster"]
        self.before = self.runs["plain60", "cap"][0].provenance["balance"]["profiles"]
        self.classes = sorted(self.before, key=lambda label: (-self.before[label], label))

    def scores(self, model: str, sampler: str, way: str) -> NDArray:
        runs = self.runs[sampler, way]
        runs = runs[:1] if model == "frozen" else runs
        columns = [[run.queries(model).score(metric) for metric in METRICS] for run in runs]
        return np.asarray(columns).transpose(0, 2, 1)

    def chosen(self, group: str) -> NDArray:
        if group == OTHERS:
            return self.labels != self.classes[0]
        return np.full(len(self.labels), True) if group == ALL else self.labels == group

    def mean(self, scores: NDArray, group: str) -> list[Interval]:
        mine = self.chosen(group)
        return seed_means(scores[:, mine], self.clusters[mine], **INTERVAL)

    def gain(self, sampler: str, way: str, group: str) -> list[Interval]:
        mine = self.chosen(group)
        differences = self.scores("trained", sampler, way) - self.scores("trained", sampler, "none")
        return seed_differences(differences[:, mine], self.clusters[mine], **INTERVAL)


def write_results(cells: Cells) -> None:
    with open(HERE / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        about = [
            "sampler",
            "row",
            "seed",
            "class",
            "train_profiles",
            "in_an_epoch",
            "epoch_selected",
            "seconds",
            "code",
        ]
        writer.writerow([*about, "synthetic", *METRICS])
        for (sampler, way), runs in cells.runs.items():
            for number, run in enumerate(runs):
                scores = cells.scores("trained", sampler, way)[number]
                balance, provenance = run.provenance["balance"], run.provenance
                for label in cells.classes:
                    dealt = balance["profiles_in_an_epoch"][label] if balance else cells.before[label]
                    values = scores[cells.chosen(label)].mean(0)
                    selected = provenance["selected"]["epoch"]
                    made = [selected, provenance["wall_time_s"], provenance["code"][:16], True]
                    counts = [cells.before[label], dealt]
                    writer.writerow(
                        [SAMPLERS[sampler], way, run.config.seed, label, *counts, *made, *(f"{v:.6f}" for v in values)]
                    )


def rows_of(cells: Cells) -> list[tuple[str, NDArray]]:
    rows = [("frozen backbone", cells.scores("frozen", "plain60", "none"))]
    return rows + [
        (f"{batches} batches, {how}", cells.scores("trained", sampler, way))
        for sampler, batches in SAMPLERS.items()
        for way, how in WAYS.items()
    ]


def tables(cells: Cells) -> str:
    seeds = len(cells.runs["plain60", "none"])
    lines = [
        f"Synthetic data. {len(cells.labels)} test queries, {np.sum(cells.labels == cells.classes[0])} of each class; "
        f"gallery {len(cells.labels) - 1}; {seeds} seeds; percent, 95 % intervals over queries and seeds. In brackets: "
        "training photos of the class.",
    ]
    heads = [f"{label} ({cells.before[label]})" for label in cells.classes]
    for number, metric in enumerate(METRICS):
        lines += ["", f"### {heading(metric)} of each class (synthetic data)", ""]
        lines += [f"| | {' | '.join([*heads, ALL])} |", "|---" + "|---:" * (len(heads) + 1) + "|"]
        for name, scores in rows_of(cells):
            found = [cells.mean(scores, group)[number] for group in (*cells.classes, ALL)]
            lines.append(f"| {name} | {' | '.join(map(cell, found))} |")
    groups = (cells.classes[0], OTHERS, ALL)
    for number, metric in enumerate(METRICS):
        lines += ["", f"### Balanced minus not balanced, {heading(metric)} (synthetic data)", ""]
        lines += [f"| | {' | '.join(groups)} |", "|---" + "|---:" * len(groups) + "|"]
        for sampler, batches in SAMPLERS.items():
            for way, how in list(WAYS.items())[1:]:
                found = [cells.gain(sampler, way, group)[number] for group in groups]
                lines.append(f"| {batches} batches, {how} | {' | '.join(map(difference, found))} |")
    return "\n".join(lines) + "\n"


def cell(interval: Interval) -> str:
    return f"{100 * interval.value:.1f}<br>{100 * interval.low:.1f}-{100 * interval.high:.1f}"


def difference(interval: Interval) -> str:
    return f"{100 * interval.value:+.1f}<br>[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def draw(cells: Cells, metric: str) -> None:
    number = METRICS.index(metric)
    drawing = figure(width=12, height=4)
    axes = drawing.subplots(1, 2, sharey=True)
    groups = (*cells.classes, ALL)
    for axis, (sampler, batches) in zip(axes, SAMPLERS.items(), strict=True):
        drawn = [("frozen backbone", "#B8BEC4", cells.scores("frozen", sampler, "none"))]
        drawn += [
            (how, colour, cells.scores("trained", sampler, way))
            for (way, how), colour in zip(WAYS.items(), COLOURS, strict=False)
        ]
        for place, (name, colour, scores) in enumerate(drawn):
            found = [cells.mean(scores, group)[number] for group in groups]
            values = np.array([100 * one.value for one in found])
            reach = [values - [100 * one.low for one in found], [100 * one.high for one in found] - values]
            x = np.arange(len(groups)) + (place - 2) * 0.17
            axis.bar(x, values, 0.16, color=colour, label=name, yerr=reach, error_kw={"lw": 0.8, "ecolor": "#444"})
        names = [f"{group.replace('_', chr(10))}\n({cells.before[group]})" for group in cells.classes]
        axis.set_xticks(range(len(groups)), [*names, "all\nclasses"], fontsize=8)
        axis.axhline(20, color="#888", lw=0.8, ls=":")
        axis.set_title(f"{batches} batches", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"{heading(metric)} in percent")
    axes[0].legend(fontsize=8, frameon=False, ncols=2)
    drawing.suptitle(f"{heading(metric)} of each class, synthetic data (in brackets: training photos)", fontsize=11)
    save(drawing, HERE / "classes.png", dpi=110)


def main(sweep: Path) -> None:
    cells = Cells(read_runs(sweep)[0])
    write_results(cells)
    (HERE / "table.md").write_text(tables(cells), encoding="utf-8")
    draw(cells, "precision@5")
    print(tables(cells))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
