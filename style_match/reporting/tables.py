"""A table of the report: its rows with intervals and differences, as Markdown, LaTeX, CSV and on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from style_match.evaluation.bootstrap import Interval
from style_match.evaluation.tables import heading, one_training
from style_match.reporting.runs import (
    PRIMARY,
    LeftOut,
    Options,
    Row,
    Run,
    keep_common,
    match,
    mean_val_mrr,
    refuse_changed_data,
    refuse_incomparable,
)
from style_match.reporting.statistics import METHODS, Block, Estimate, blocks_of, design_of, holm, seed_spread, verdict
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv

NOT_COMPARABLE = "synthetic data, not comparable"


@dataclass(frozen=True)
class Difference:
    """A row minus another one.

    Attributes:
        against: Name of the other row.
        metrics: Metric to its difference in [-1, 1], with interval.
        p: Of the MRR; None if nothing is tested: against chance, and if all splits or worlds have the same difference.
        p_adjusted: With Holm's correction over the table.
        verdict: "better", "worse" or "not distinguishable"; empty without a test.
    """

    against: str
    metrics: Mapping[str, Interval]
    p: float | None
    p_adjusted: float | None = None
    verdict: str = ""


@dataclass(frozen=True)
class ResultRow:
    """A row with its results.

    Attributes:
        row: The row with its runs.
        metrics: Metric to its mean, with interval.
        seed_sd: Metric to the standard deviation over seeds; NaN with one seed.
        val_mrr: Mean val/mrr of its runs; None for chance and the frozen backbone.
        difference: From the row that it is compared with, if any.
    """

    row: Row
    metrics: Mapping[str, Interval]
    seed_sd: Mapping[str, float]
    val_mrr: float | None
    difference: Difference | None


@dataclass(frozen=True)
class ResultTable:
    """A table with its results.

    Attributes:
        name: Name in `conf/table`.
        title: Heading.
        metrics: Columns.
        rows: Rows.
        design: A key of METHODS.
        synthetic: Whether the people of some run are drawn.
        confidence: Of the intervals.
        notes: Sentences below the table, without the one on the paper's numbers.
        of_sweep: Whether its rows were made from the options of a sweep; they show val/mrr too.
    """

    name: str
    title: str
    metrics: tuple[str, ...]
    rows: tuple[ResultRow, ...]
    design: str
    synthetic: bool
    confidence: float
    notes: tuple[str, ...]
    of_sweep: bool = False

    @property
    def paper_note(self) -> str:
        """A sentence on the paper's numbers beside this table's; empty if the paper prints none."""
        if not any(row.row.paper for row in self.rows):
            return ""
        if self.synthetic:
            return f"Paper: as printed, on its own 75 private couples ({NOT_COMPARABLE})."
        return "Paper: as printed, on its own 75 private couples; comparable only where data and gallery are the same."

    @property
    def all_notes(self) -> list[str]:
        """The sentences below the table."""
        return [*filter(None, [self.paper_note]), *self.notes]

    @property
    def heading(self) -> str:
        """The title, which says so if the data is synthetic."""
        return self.title + (" (synthetic data)" if self.synthetic else "")

    @property
    def compared(self) -> list[tuple[ResultRow, Difference]]:
        """The rows that are compared with another one."""
        return [(row, row.difference) for row in self.rows if row.difference]

    def label_of(self, name: str) -> str:
        """Return the label of a row."""
        return next(row.row.label for row in self.rows if row.row.name == name)


# ---------------------------------------------------------------- results


def foreign_runs(specs: Mapping[str, Any], runs: Sequence[Run]) -> list[LeftOut]:
    """Return the runs that match no row of the tables `specs` (nodes of `conf/table`).

    Raises:
        UserError: There are runs, and none matches.
    """
    used = {folder for spec in specs.values() for row in match(spec, runs) for folder in row.folders}
    if runs and not used:
        rows = [f"  {name}.{row}: {_where(spec, row)}" for name, spec in specs.items() for row in spec["rows"]]
        raise UserError(
            f"None of {len(runs)} finished runs matches a row of the tables. The rows need runs with\n"
            + "\n".join(rows)
        )
    return [LeftOut(run.folder, "foreign", "it matches no row of the tables") for run in runs if run.folder not in used]


def _where(spec: Mapping[str, Any], row: str) -> str:
    where = {**spec.get("where", {}), **spec["rows"][row].get("where", {})}
    words = {path: str(value).rpartition(".")[2] if "_target_" in path else value for path, value in where.items()}
    return ", ".join(f"{path}={'null' if value is None else value}" for path, value in words.items())


def make_tables(specs: Mapping[str, Any], runs: Sequence[Run], options: Options) -> list[ResultTable]:
    """Return those of the tables `specs` that have runs; raises as `make_table`."""
    return [table for name, spec in specs.items() if (table := make_table(name, spec, runs, options))]


def make_table(name: str, spec: Mapping[str, Any], runs: Sequence[Run], options: Options) -> ResultTable | None:
    """Return the table `spec` (a node of `conf/table`) of the runs that match its rows; None if none does.

    Raises:
        UserError: Rows that cannot be compared, data that changed, too few seeds, or a common gallery for styles or
            above that of a test set.
    """
    rows = match(spec, runs)
    if not rows:
        return None
    refuse_changed_data(name, rows)
    removed = keep_common(name, rows) if "lacking" in options.leave_out else []
    refuse_incomparable(name, rows)
    metrics = _metrics(name, spec, rows, options.gallery)
    design, blocks = design_of(rows[0].test_sets), blocks_of(rows[0])
    scores = {row.name: [block.scores(row, metrics, options.gallery) for block in blocks] for row in rows}
    items = rows[0].first_run.provenance["data"]["items"]
    estimate = Estimate(design, blocks, items["test"] / items["train"], options)
    results = _with_verdicts([_result(row, rows, scores, metrics, estimate) for row in rows], options.alpha)
    return ResultTable(
        name=name,
        title=spec["title"],
        metrics=tuple(metrics),
        rows=tuple(results),
        design=design,
        synthetic=any(run.provenance["synthetic"] for row in rows for run in row.runs.values()),
        confidence=options.confidence,
        of_sweep="may_differ" in spec,
        notes=(
            _size_note(rows, blocks, options),
            _chance_note(rows[0], blocks, metrics, options.gallery, estimate),
            METHODS[design],
            *_verdict_notes(results, options.alpha),
            *_missing_notes(spec, rows, metrics),
            *_caution_notes(rows, design, options.min_seeds),
            *(f"Left out: {text}." for text in removed),
        ),
    )


def _result(
    row: Row, rows: Sequence[Row], scores: Mapping[str, list[NDArray]], metrics: Sequence[str], estimate: Estimate
) -> ResultRow:
    """Return a row's results without Holm's correction and verdict, which depend on all rows."""
    own, values = scores[row.name], _means(row, scores, estimate)
    spread = np.mean([seed_spread(part) for part in own], axis=0)
    difference = None
    other = next((each for each in rows if each.name == row.against), None)
    if other and "chance" in (row.model, other.model):
        # chance is a constant: its signs cannot be flipped, and ranks are skewed about it
        intervals = [_minus(*pair) for pair in zip(values, _means(other, scores, estimate), strict=True)]
        difference = Difference(other.name, dict(zip(metrics, intervals, strict=True)), None)
    elif other:
        parts = [one - two for one, two in zip(own, scores[other.name], strict=True)]
        intervals = estimate.differences(parts)
        p = estimate.p_value([part[:, :, metrics.index(PRIMARY)] for part in parts])
        difference = Difference(other.name, dict(zip(metrics, intervals, strict=True)), p)
    cells, spreads = (dict(zip(metrics, column, strict=True)) for column in (values, spread.tolist()))
    val_mrr = mean_val_mrr(row.runs.values()) if row.model == "trained" else None
    return ResultRow(row, cells, spreads, val_mrr, difference)


def _means(row: Row, scores: Mapping[str, list[NDArray]], estimate: Estimate) -> list[Interval]:
    return (estimate.exact if row.model == "chance" else estimate.means)(scores[row.name])


def _minus(one: Interval, other: Interval) -> Interval:
    """Return the difference of two intervals, one of which has no width."""
    return Interval(one.value - other.value, one.low - other.high, one.high - other.low)


def _metrics(table: str, spec: Mapping[str, Any], rows: Sequence[Row], gallery: int | None) -> list[str]:
    """Return the metrics that every run has; with a common gallery those that follow from ranks and fit it."""
    sections = [run.metrics[row.model] for row in rows for run in row.runs.values()]
    metrics = list(spec["metrics"])
    means = [metric for metric in metrics if metric.partition("@")[0] in ("recall", "precision", "map", PRIMARY)]
    if PRIMARY not in metrics or means != metrics:
        raise UserError(
            f"{table}: metrics={metrics} must contain {PRIMARY}, which is tested, and only metrics that are means over "
            "queries."
        )
    if gallery is not None:
        if spec["task"] != "couple":
            raise UserError(f"{table}: report.gallery={gallery} is for couples; a class has several right answers.")
        smallest = min(section["gallery"] for section in sections)
        if gallery > smallest:
            raise UserError(f"report.gallery={gallery} exceeds the smallest test gallery of {smallest}. Lower it.")
        metrics = [m for m in metrics if m == PRIMARY or (m.startswith("recall@") and int(m[7:]) <= gallery)]
    return [metric for metric in metrics if all(metric in section for section in sections)]


def _with_verdicts(rows: Sequence[ResultRow], alpha: float) -> list[ResultRow]:
    tested = [row.difference.p for row in rows if row.difference]
    adjusted = iter(holm([p for p in tested if p is not None]))
    judged = []
    for row in rows:
        if row.difference and row.difference.p is not None:
            p = next(adjusted)
            word = verdict(row.difference.metrics[PRIMARY], p, alpha)
            row = replace(row, difference=replace(row.difference, p_adjusted=p, verdict=word))
        judged.append(row)
    return judged


# ---------------------------------------------------------------- notes


def _size_note(rows: Sequence[Row], blocks: Sequence[Block], options: Options) -> str:
    """Return how many queries, test sets, profiles and trainings the table is about."""
    galleries = sorted({run.metrics["chance"]["gallery"] for row in rows for run in row.runs.values()})
    gallery = f"{galleries[0]}" if len(galleries) == 1 else f"{galleries[0]} to {galleries[-1]}"
    if options.gallery is not None:
        gallery = f"{options.gallery} (expected over random parts of {gallery})"
    test_sets = [test_set for block in blocks for test_set in block.test_sets]
    kinds = (
        (len({test_set.data for test_set in test_sets}), "dataset"),
        (len({test_set.split_seed for test_set in test_sets}), "split"),
        (len({test_set.fold for test_set in test_sets}), "fold"),
    )
    sets = " x ".join(_count(number, kind) for number, kind in kinds if number > 1) or "one test set"
    queries = sum(len(block.queries) for block in blocks)
    seeds = {seed for row in rows if row.model == "trained" for seed in row.seeds}
    single = one_training(*seeds) if len(seeds) == len(test_sets) == 1 else None
    trainings = single or _count(max(len(row.seeds) for row in rows), "seed")
    return f"{queries} queries in {sets}, gallery {gallery}, {trainings}."


def _chance_note(
    row: Row, blocks: Sequence[Block], metrics: Sequence[str], gallery: int | None, estimate: Estimate
) -> str:
    chance = replace(row, model="chance")  # it is the same for every row
    exact = estimate.exact([block.scores(chance, metrics, gallery) for block in blocks])
    values = ", ".join(f"{heading(metric)} {100 * cell.value:.1f}" for metric, cell in zip(metrics, exact, strict=True))
    return f"Chance, exact: {values} %."


def _verdict_notes(rows: Sequence[ResultRow], alpha: float) -> list[str]:
    """Return the meaning of the verdicts, and the reason for each missing one."""
    by_name = {row.row.name: row.row for row in rows}
    notes = []
    if any(row.difference and row.difference.verdict for row in rows):
        notes.append(
            f"Verdicts are of the {heading(PRIMARY)}: better or worse where p is at most {alpha:g} after Holm's "
            "correction over the table and the interval leaves out 0; other differences are description."
        )
    for row, difference in ((row, row.difference) for row in rows if row.difference):
        if difference.p is None:
            other, gap = by_name[difference.against], difference.metrics[PRIMARY]
            name = f"{row.row.label} minus {other.label}"
            if "chance" in (row.row.model, other.model):
                leaves = "leaves" if gap.low > 0 or gap.high < 0 else "does not leave"
                notes.append(
                    f"{name}: chance is exact and not tested; the interval is that of the mean, less chance; for the "
                    f"{heading(PRIMARY)} it {leaves} out 0."
                )
            else:
                notes.append(f"{name}: the same {heading(PRIMARY)} difference everywhere, so no interval and no test.")
    return notes


def _missing_notes(spec: Mapping[str, Any], rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    names = {row.name for row in rows}
    labels = [row["label"] for name, row in spec["rows"].items() if name not in names]
    not_shown = [heading(metric) for metric in spec["metrics"] if metric not in metrics]
    return [
        *([f"No runs of: {'; '.join(labels)}."] if labels else []),
        *([f"Not shown, because above a gallery or not in every run: {', '.join(not_shown)}."] if not_shown else []),
    ]


def _caution_notes(rows: Sequence[Row], design: str, min_seeds: int) -> list[str]:
    versions = len({run.provenance.get("code") for row in rows for run in row.runs.values()})
    num_seeds = min((len(row.seeds) for row in rows if row.model == "trained"), default=min_seeds)
    notes = []
    if design == "couples" and num_seeds == 1:
        notes.append("One seed: the intervals ignore the variance over seeds and hold for this training alone.")
    elif design == "couples" and num_seeds < min_seeds:
        notes.append(
            f"{num_seeds} seeds: too few to estimate the variance over seeds. Run at least {min_seeds} (seed=0,1,2)."
        )
    return [
        *notes,
        *([f"The runs were made by {versions} versions of the code."] if versions > 1 else []),
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


# ---------------------------------------------------------------- texts of cells


def is_exact(interval: Interval) -> bool:
    """Return whether no interval is shown: for chance, and if all splits or worlds have the same value."""
    return interval.low == interval.high


def difference_text(interval: Interval, gap: str) -> str:
    """Return a difference in points with its interval after `gap`."""
    bounds = "" if is_exact(interval) else f"{gap}[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    return f"{100 * interval.value:+.1f}{bounds}"


def p_text(p: float | None) -> str:
    """Return a p value with three decimals; empty without a test."""
    if p is None:
        return ""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def val_text(row: ResultRow) -> str:
    """Return a row's val/mrr in percent; empty for a model that was not selected by it."""
    return "" if row.val_mrr is None else f"{100 * row.val_mrr:.1f}"


def _value(interval: Interval) -> str:
    return f"{100 * interval.value:.1f}"


def _bounds(interval: Interval) -> str:
    return "" if is_exact(interval) else f"{100 * interval.low:.1f}-{100 * interval.high:.1f}"


def _paper(row: ResultRow, table: ResultTable) -> list[str]:
    return [f"{row.row.paper[metric]:.1f}" if metric in row.row.paper else "" for metric in table.metrics]


def _paper_label(table: ResultTable) -> str:
    return "paper" + (f" ({NOT_COMPARABLE})" if table.synthetic else "")


def _comparisons(table: ResultTable) -> list[str]:
    """Return each comparison in one line; without a test a note says why."""
    lines = []
    for row, difference in table.compared:
        p = f", p = {p_text(difference.p_adjusted)} after Holm: {difference.verdict}" if difference.verdict else ""
        gap = difference_text(difference.metrics[PRIMARY], " ")
        lines.append(f"{row.row.label} minus {table.label_of(difference.against)}: {heading(PRIMARY)} {gap}{p}.")
    return lines


# ---------------------------------------------------------------- Markdown, LaTeX, CSV, terminal


def markdown(table: ResultTable) -> str:
    """Return the table in Markdown: a heading, the metrics, the differences, the notes."""
    metrics = [heading(metric) for metric in table.metrics]
    rows = []
    for row in table.rows:
        cells = [row.metrics[metric] for metric in table.metrics]
        spread = row.seed_sd[PRIMARY]
        texts = ["<br>".join(filter(None, (_value(cell), _bounds(cell)))) for cell in cells]
        val = [val_text(row)] if table.of_sweep else []
        rows.append([row.row.label, *val, *texts, "" if math.isnan(spread) else f"{100 * spread:.1f}"])
        if row.row.paper:
            rows.append([f"*{_paper_label(table)}*", *(f"*{text}*" if text else "" for text in _paper(row, table)), ""])
    head = ["percent", *(["val MRR"] if table.of_sweep else []), *metrics, "seed sd of MRR"]
    lines = [f"### {table.heading}", "", *_markdown_table(head, rows, num_left=1)]
    rows = [
        [
            row.row.label,
            table.label_of(difference.against),
            *(difference_text(difference.metrics[metric], "<br>") for metric in table.metrics),
            p_text(difference.p),
            p_text(difference.p_adjusted),
            f"**{difference.verdict}**" if difference.verdict else "",
        ]
        for row, difference in table.compared
    ]
    if rows:
        head = ["minus", "against", *metrics, "p (MRR)", "p, Holm", "verdict"]
        lines += ["", *_markdown_table(head, rows, num_left=2, last_left=True)]
    return "\n".join([*lines, "", *(f"{note}  " for note in table.all_notes), ""])


def _markdown_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], *, num_left: int, last_left: bool = False
) -> list[str]:
    """Return the lines of a table whose first `num_left` columns, and with `last_left` the last, are texts."""
    right = len(head) - num_left - last_left
    ruler = [*["---"] * num_left, *["---:"] * right, *["---"] * last_left]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in (head, ruler, *rows)]


_LATEX = str.maketrans(
    {sign: f"\\{sign}" for sign in "&%#_${}"}
    | {
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": "$<$",
        ">": "$>$",
        "|": "$|$",
    }
)


def latex(table: ResultTable) -> str:
    """Return a booktabs table with its caption."""
    lines = []
    for row in table.rows:
        cells = [row.metrics[metric] for metric in table.metrics]
        bounds = [_bounds(cell).replace("-", "--") for cell in cells]
        lines.append([_escape(row.row.label), *map(_value, cells)])
        if any(bounds):
            lines.append(["", *(rf"{{\scriptsize {text}}}" if text else "" for text in bounds)])
        if row.row.paper:
            lines.append([rf"\quad {_escape(_paper_label(table))}", *_paper(row, table)])
    head = ["", *(_escape(heading(metric)) for metric in table.metrics)]
    level = f"Percent with {100 * table.confidence:g} % intervals."
    caption = " ".join([f"{table.heading}.", level, *_comparisons(table), *table.all_notes])
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\begin{{tabular}}{{l{'r' * len(table.metrics)}}}",
            r"\toprule",
            rf"{' & '.join(head)} \\",
            r"\midrule",
            *(rf"{' & '.join(line)} \\" for line in lines),
            r"\bottomrule",
            r"\end{tabular}",
            rf"\caption{{{_escape(caption)}}}",
            rf"\label{{tab:{table.name}}}",
            r"\end{table}",
            "",
        ]
    )


def _escape(text: str) -> str:
    return text.translate(_LATEX)


def rows_of_csv(tables: Sequence[ResultTable]) -> str:
    """Return a CSV file with one line for each table, row and metric."""
    lines = []
    for table in tables:
        for row in table.rows:
            for metric in table.metrics:
                cell, spread, difference = row.metrics[metric], row.seed_sd[metric], row.difference
                gap = difference.metrics[metric] if difference else None
                tested = difference if metric == PRIMARY else None
                lines.append(
                    {
                        "table": table.name,
                        "row": row.row.name,
                        "metric": metric,
                        "val_mrr": row.val_mrr,
                        "value": cell.value,
                        "low": cell.low,
                        "high": cell.high,
                        "seed_sd": None if math.isnan(spread) else spread,
                        "paper": row.row.paper.get(metric),
                        "against": difference.against if difference else None,
                        "difference": gap.value if gap else None,
                        "difference_low": gap.low if gap else None,
                        "difference_high": gap.high if gap else None,
                        "p": tested.p if tested else None,
                        "p_holm": tested.p_adjusted if tested else None,
                        "verdict": tested.verdict if tested else None,
                        "data": "synthetic" if table.synthetic else "real",
                    }
                )
    return as_csv(list(lines[0]), (line.values() for line in lines))  # None is written as an empty cell


def print_tables(tables: Sequence[ResultTable], console: Console, *, brief: bool = False) -> None:
    """Print the tables to a rich console, with their notes; `brief` leaves out the one on methods."""
    for table in tables:
        console.print(Text(table.heading, style="bold"))
        shown = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
        shown.add_column("percent", min_width=12)  # six metrics beside it fit into 80 columns
        for name in (*(["val MRR"] if table.of_sweep else []), *map(heading, table.metrics)):
            shown.add_column(name, justify="right", no_wrap=True)
        for row in table.rows:
            cells = [row.metrics[metric] for metric in table.metrics]
            texts = ["\n".join(filter(None, (_value(cell), _bounds(cell)))) for cell in cells]
            val = [val_text(row)] if table.of_sweep else []
            shown.add_row(*map(Text, (row.row.label, *val, *texts)))
            if row.row.paper:
                shown.add_row(*(Text(text, style="dim") for text in ("paper", *_paper(row, table))))
        console.print(shown)
        for note in [*_comparisons(table), *table.all_notes]:
            if not (brief and note == METHODS[table.design]):
                console.print(Text(note, style="dim"))
        console.print()
