"""Effect of balancing on each class: `python experiments/balancing/table.py SWEEP`.

Writes results.csv (a line for each run and class), table.md and classes.png beside this file.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
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
ALL, OTHERS = "all classes", "the four small"


class Scores:
    """The scores of a sweep: (S, Q, M) of S seeds for each sampler and way, on Q test queries."""

    def __init__(self, runs: Sequence[Run]):
        self.runs: dict[tuple[str, str], list[Run]] = {}
        for run in sorted(runs, key=lambda run: run.config.seed):
            self.runs.setdefault((run.value("choices.sampler"), run.value("choices.row")), []).append(run)
        asked, label_of = runs[0].queries("frozen").columns, column_of(runs[0], "fashion_style")
        self.labels = np.array([label_of[query] for query in asked["query"]])
        self.clusters = asked["cluster"]
        self.before = self.runs["plain60", "cap"][0].provenance["balance"]["profiles"]
        self.classes = sorted(self.before, key=lambda label: (-self.before[label], label))

    def of(self, model: str, sampler: str, way: str) -> NDArray:
        runs = self.runs[sampler, way][: 1 if model == "frozen" else None]
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
        differences = self.of("trained", sampler, way) - self.of("trained", sampler, "none")
        return seed_differences(differences[:, mine], self.clusters[mine], **INTERVAL)


def results(scores: Scores) -> pd.DataFrame:
    rows = []
    for (sampler, way), runs in scores.runs.items():
        for run, own in zip(runs, scores.of("trained", sampler, way), strict=True):
            provenance = run.provenance
            balance = provenance["balance"]
            dealt = balance["profiles_in_an_epoch"] if balance else scores.before
            for label in scores.classes:
                row = {"sampler": SAMPLERS[sampler], "row": way, "seed": run.config.seed, "class": label}
                row |= {"train_profiles": scores.before[label], "in_an_epoch": dealt[label]}
                row |= {"epoch_selected": provenance["selected"]["epoch"], "seconds": provenance["wall_time_s"]}
                row |= {"code": provenance["code"][:16], "synthetic": True}
                rows.append(row | dict(zip(METRICS, own[scores.chosen(label)].mean(0).round(6), strict=True)))
    return pd.DataFrame(rows)


def tables(scores: Scores) -> str:
    num, of_each = len(scores.labels), np.sum(scores.labels == scores.classes[0])
    seeds = len(scores.runs["plain60", "none"])
    lines = [
        f"Synthetic data. {num} test queries, {of_each} of each class; gallery {num - 1}; {seeds} seeds; percent, "
        "95 % intervals over queries and seeds. In brackets: training photos of the class.",
    ]
    trained = {
        f"{batches} batches, {how}": (sampler, way)
        for sampler, batches in SAMPLERS.items()
        for way, how in WAYS.items()
    }
    rows = {"frozen backbone": scores.of("frozen", "plain60", "none")}
    rows |= {name: scores.of("trained", *cell) for name, cell in trained.items()}
    heads = [*(f"{label} ({scores.before[label]})" for label in scores.classes), ALL]
    for number, metric in enumerate(METRICS):
        lines += ["", f"### {heading(metric)} of each class (synthetic data)", "", *table_head(heads)]
        for name, own in rows.items():
            found = [scores.mean(own, group)[number] for group in (*scores.classes, ALL)]
            shown = [f"{100 * i.value:.1f}<br>{100 * i.low:.1f}-{100 * i.high:.1f}" for i in found]
            lines.append(f"| {' | '.join([name, *shown])} |")
    groups = [scores.classes[0], OTHERS, ALL]
    for number, metric in enumerate(METRICS):
        title = f"### Balanced minus not balanced, {heading(metric)} (synthetic data)"
        lines += ["", title, "", *table_head(groups)]
        for name, (sampler, way) in trained.items():
            if way != "none":
                found = [scores.gain(sampler, way, group)[number] for group in groups]
                shown = [f"{100 * i.value:+.1f}<br>[{100 * i.low:+.1f}, {100 * i.high:+.1f}]" for i in found]
                lines.append(f"| {' | '.join([name, *shown])} |")
    return "\n".join(lines) + "\n"


def table_head(heads: Sequence[str]) -> list[str]:
    return [f"| | {' | '.join(heads)} |", "|---" + "|---:" * len(heads) + "|"]


def draw(scores: Scores, metric: str) -> None:
    number, groups = METRICS.index(metric), (*scores.classes, ALL)
    drawing = figure(width=12, height=4)
    axes = drawing.subplots(1, 2, sharey=True)
    names = [f"{group.replace('_', chr(10))}\n({scores.before[group]})" for group in scores.classes]
    for axis, (sampler, batches) in zip(axes, SAMPLERS.items(), strict=True):
        drawn = [("frozen backbone", "#B8BEC4", scores.of("frozen", sampler, "none"))]
        for (way, how), colour in zip(WAYS.items(), COLOURS, strict=False):
            drawn.append((how, colour, scores.of("trained", sampler, way)))
        for place, (name, colour, own) in enumerate(drawn):
            found = [scores.mean(own, group)[number] for group in groups]
            value, low, high = (100 * np.array([getattr(i, part) for i in found]) for part in ("value", "low", "high"))
            x, reach = np.arange(len(groups)) + (place - 2) * 0.17, [value - low, high - value]
            axis.bar(x, value, 0.16, color=colour, label=name, yerr=reach, error_kw={"lw": 0.8, "ecolor": "#444"})
        axis.set_xticks(range(len(groups)), [*names, "all\nclasses"], fontsize=8)
        axis.axhline(20, color="#888", lw=0.8, ls=":")
        axis.set_title(f"{batches} batches", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"{heading(metric)} in percent")
    axes[0].legend(fontsize=8, frameon=False, ncols=2)
    drawing.suptitle(f"{heading(metric)} of each class, synthetic data (in brackets: training photos)", fontsize=11)
    save(drawing, HERE / "classes.png", dpi=110)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = Scores(read_runs(Path(sys.argv[1]))[0])
    results(found).to_csv(HERE / "results.csv", index=False)
    (HERE / "table.md").write_text(tables(found), encoding="utf-8")
    draw(found, "precision@5")
    print(tables(found))
