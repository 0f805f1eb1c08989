"""A table of the report: its rows with intervals and differences, as Markdown, LaTeX, CSV and on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from style_match.evaluation.bootstrap import Interval
from style_match.evaluation.tables import heading, one_training
from style_match.reporting import statistics
from style_match.reporting.runs import (
    PRIMARY,
    LeftOut,
    Options,
    Row,
    Run,
    keep_common,
    match,
    refuse_changed_data,
    refuse_unlike,
)
from style_match.reporting.statistics import METHODS, Block, Estimate, blocks_of, design_of, seed_spread
from style_match.utils.errors import UserError
from style_match.utils.files import as_csv

# One table of the report: each row's metrics with intervals, and its difference from the row it is compared with.


@dataclass(frozen=True)
class Difference:
    """A row minus another one: `metrics` in [-1, 1] with intervals; p and verdict are of the MRR.

    Nothing is tested (p None, no verdict) against chance, and where splits or worlds all differ alike.
    """

    against: str
    metrics: Mapping[str, Interval]
    p: float | None
    p_adjusted: float | None = None
    verdict: str = ""


@dataclass(frozen=True)
class ResultRow:
    """A row with what was measured; `seed_sd` are standard deviations over seeds, NaN with one."""

    row: Row
    metrics: Mapping[str, Interval]
    seed_sd: Mapping[str, float]
    difference: Difference | None


@dataclass(frozen=True)
class ResultTable:
    """A table as it is printed; `design` is a key of METHODS, `notes` are sentences for below it."""

    name: str
    title: str
    metrics: tuple[str, ...]
    rows: tuple[ResultRow, ...]
    design: str
    synthetic: bool
    confidence: float
    notes: tuple[str, ...]


def foreign_runs(specs: Mapping[str, Any], runs: Sequence[Run]) -> list[LeftOut]:
    """The runs that fit no row of the tables `specs` (nodes of `conf/table`).

    Raises:
        UserError: there are runs, and none fits.
    """
    used = {folder for spec in specs.values() for row in match(spec, runs) for folder in row.folders}
    if runs and not used:
        rows = [f"  {name}.{row}: {_where(spec, row)}" for name, spec in specs.items() for row in spec["rows"]]
        raise UserError(
            f"None of {len(runs)} finished runs fits a row of the tables. The rows are of runs with\n" + "\n".join(rows)
        )
    return [LeftOut(run.folder, "foreign", "it fits no row of the tables") for run in runs if run.folder not in used]


def _where(spec: Mapping[str, Any], row: str) -> str:
    where = {**spec.get("where", {}), **spec["rows"][row].get("where", {})}
    words = {path: str(value).rpartition(".")[2] if "_target_" in path else value for path, value in where.items()}
    return ", ".join(f"{path}={'null' if value is None else value}" for path, value in words.items())


def make_tables(specs: Mapping[str, Any], runs: Sequence[Run], options: Options) -> list[ResultTable]:
    """Those of the tables `specs` that the runs fill; raises as `make_table`."""
    return [table for name, spec in specs.items() if (table := make_table(name, spec, runs, options))]


def make_table(name: str, spec: Mapping[str, Any], runs: Sequence[Run], options: Options) -> ResultTable | None:
    """The table `spec` (a node of `conf/table`) of those runs that fit its rows; None where none does.

    Raises:
        UserError: rows that cannot be compared, data that changed, too few seeds, a common gallery above a test set's
            or for styles.
    """
    rows = match(spec, runs)
    if not rows:
        return None
    refuse_changed_data(name, rows)
    gone = keep_common(name, rows) if "lacking" in options.leave_out else []
    refuse_unlike(name, rows)
    metrics = _metrics(name, spec, rows, options.gallery)
    design, blocks = design_of(rows[0].test_sets), blocks_of(rows[0])
    _refuse_few_seeds(name, rows, design, options.min_seeds)
    scores = {row.name: [block.scores(row, metrics, options.gallery) for block in blocks] for row in rows}
    items = next(iter(rows[0].runs.values())).provenance["data"]["items"]
    estimate = Estimate(design, blocks, items["test"] / items["train"], options)
    judged = _judged([_result(row, rows, scores, metrics, estimate) for row in rows], options.alpha)
    return ResultTable(
        name=name,
        title=spec["title"],
        metrics=tuple(metrics),
        rows=tuple(judged),
        design=design,
        synthetic=any(run.provenance["synthetic"] for row in rows for run in row.runs.values()),
        confidence=options.confidence,
        notes=(
            _asked(rows, blocks, options),
            _chance(rows[0], blocks, metrics, options.gallery, estimate),
            METHODS[design],
            *_judgement(judged, options.alpha),
            *_lacking(spec, rows, metrics),
            *_caution(rows, design),
            *(f"Left out: {text}." for text in gone),
        ),
    )


def _result(
    row: Row, rows: Sequence[Row], scores: Mapping[str, list[NDArray]], metrics: Sequence[str], estimate: Estimate
) -> ResultRow:
    """Without Holm's correction and verdict, for which all rows are needed."""
    own, values = scores[row.name], _means(row, scores, estimate)
    spread = np.mean([seed_spread(part) for part in own], axis=0)
    difference = None
    rival = next((other for other in rows if other.name == row.against), None)
    if rival and "chance" in (row.model, rival.model):
        # chance is a constant and no second model: signs cannot be flipped, and ranks are skewed about it
        intervals = [_minus(*pair) for pair in zip(values, _means(rival, scores, estimate), strict=True)]
        difference = Difference(rival.name, dict(zip(metrics, intervals, strict=True)), None)
    elif rival:
        parts = [one - other for one, other in zip(own, scores[rival.name], strict=True)]
        intervals = estimate.differences(parts)
        p = estimate.p_value([part[:, :, metrics.index(PRIMARY)] for part in parts])
        difference = Difference(rival.name, dict(zip(metrics, intervals, strict=True)), p)
    cells, spreads = (dict(zip(metrics, column, strict=True)) for column in (values, spread.tolist()))
    return ResultRow(row, cells, spreads, difference)


def _means(row: Row, scores: Mapping[str, list[NDArray]], estimate: Estimate) -> list[Interval]:
    return (estimate.exact if row.model == "chance" else estimate.means)(scores[row.name])


def _minus(one: Interval, other: Interval) -> Interval:
    """Of two, one of which is exact."""
    return Interval(one.value - other.value, one.low - other.high, one.high - other.low)


def _metrics(table: str, spec: Mapping[str, Any], rows: Sequence[Row], gallery: int | None) -> list[str]:
    """Those that every run has; with a common gallery those that follow from ranks and fit it."""
    sections = [run.metrics[row.model] for row in rows for run in row.runs.values()]
    wanted = list(spec["metrics"])
    means = [metric for metric in wanted if metric.partition("@")[0] in ("recall", "precision", "map", PRIMARY)]
    if PRIMARY not in wanted or means != wanted:
        raise UserError(f"{table}: metrics={wanted}: write {PRIMARY}, which is tested, and means over queries only.")
    if gallery is not None:
        if spec["task"] != "couple":
            raise UserError(f"{table}: report.gallery={gallery} is for couples; a class has several right answers.")
        smallest = min(section["gallery"] for section in sections)
        if gallery > smallest:
            raise UserError(
                f"report.gallery={gallery} is above the smallest test gallery of {smallest}: ask for at most that."
            )
        wanted = [m for m in wanted if m == PRIMARY or (m.startswith("recall@") and int(m[7:]) <= gallery)]
    return [metric for metric in wanted if all(metric in section for section in sections)]


def _refuse_few_seeds(table: str, rows: Sequence[Row], design: str, min_seeds: int) -> None:
    few = [row for row in rows if row.model == "trained" and len(row.seeds) < min_seeds]
    if design == "couples" and few:
        raise UserError(
            f"{table}: the row {few[0].name} has {_count(len(few[0].seeds), 'seed')}, and an interval that holds for "
            f"other seeds needs at least {min_seeds}: run it with seed=0,1,2,3,4, or say report.min_seeds=1 for "
            "intervals that hold for this training alone."
        )


def _judged(rows: Sequence[ResultRow], alpha: float) -> list[ResultRow]:
    tested = [row.difference.p for row in rows if row.difference]
    adjusted = iter(statistics.holm([p for p in tested if p is not None]))
    judged = []
    for row in rows:
        if row.difference and row.difference.p is not None:
            p = next(adjusted)
            verdict = statistics.verdict(row.difference.metrics[PRIMARY], p, alpha)
            row = replace(row, difference=replace(row.difference, p_adjusted=p, verdict=verdict))
        judged.append(row)
    return judged


def _asked(rows: Sequence[Row], blocks: Sequence[Block], options: Options) -> str:
    """How many were asked of how many, by how many trainings."""
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
    alone = one_training(*seeds) if len(seeds) == len(test_sets) == 1 else None
    trainings = alone or _count(max(len(row.seeds) for row in rows), "seed")
    return f"{queries} queries in {sets}, gallery {gallery}, {trainings}."


def _chance(row: Row, blocks: Sequence[Block], metrics: Sequence[str], gallery: int | None, estimate: Estimate) -> str:
    """Chance is the same for every row."""
    of_chance = replace(row, model="chance")
    exact = estimate.exact([block.scores(of_chance, metrics, gallery) for block in blocks])
    values = ", ".join(f"{heading(metric)} {100 * cell.value:.1f}" for metric, cell in zip(metrics, exact, strict=True))
    return f"Chance, exact: {values} %."


def _judgement(rows: Sequence[ResultRow], alpha: float) -> list[str]:
    """What the verdicts mean, and what stands in their place where nothing is tested."""
    label = {row.row.name: row.row.label for row in rows}
    model = {row.row.name: row.row.model for row in rows}
    notes = []
    if any(row.difference and row.difference.verdict for row in rows):
        notes.append(
            f"Verdicts are of the {heading(PRIMARY)}: better or worse where p is at most {alpha:g} after Holm's "
            "correction over the table and the interval leaves out 0; other differences are description."
        )
    for row, difference in ((row, row.difference) for row in rows if row.difference):
        if difference.p is None:
            name, gap = f"{row.row.label} minus {label[difference.against]}", difference.metrics[PRIMARY]
            if "chance" in (row.row.model, model[difference.against]):
                leaves = "leaves" if gap.low > 0 or gap.high < 0 else "does not leave"
                notes.append(
                    f"{name}: chance is exact and not tested; the interval is that of the mean, less chance; for the "
                    f"{heading(PRIMARY)} it {leaves} out 0."
                )
            else:
                notes.append(f"{name}: the same {heading(PRIMARY)} difference everywhere, so no interval and no test.")
    return notes


def _lacking(spec: Mapping[str, Any], rows: Sequence[Row], metrics: Sequence[str]) -> list[str]:
    there = {row.name for row in rows}
    labels = [row["label"] for name, row in spec["rows"].items() if name not in there]
    gone = [heading(metric) for metric in spec["metrics"] if metric not in metrics]
    return [
        *([f"No runs of: {'; '.join(labels)}."] if labels else []),
        *([f"Not shown, because above a gallery or not in every run: {', '.join(gone)}."] if gone else []),
    ]


def _caution(rows: Sequence[Row], design: str) -> list[str]:
    runs = [run for row in rows for run in row.runs.values()]
    versions = len({run.provenance.get("code") for run in runs})
    alone = design == "couples" and any(row.model == "trained" and len(row.seeds) == 1 for row in rows)
    return [
        *(["One seed: intervals hold for this training alone."] if alone else []),
        *([f"The runs were made by {versions} versions of the code."] if versions > 1 else []),
    ]


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


NOT_COMPARABLE = "synthetic data, not comparable"
COLUMNS: tuple[str, ...] = (
    "table",
    "row",
    "metric",
    "value",
    "low",
    "high",
    "seed_sd",
    "paper",
    "against",
    "difference",
)
COLUMNS += ("difference_low", "difference_high", "p", "p_holm", "verdict", "data")
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


def paper_note(table: ResultTable) -> str:
    """What to say of the paper's numbers beside this table's; empty where it prints none."""
    if not any(row.row.paper for row in table.rows):
        return ""
    if table.synthetic:
        return f"Paper: as printed, on its own 75 private couples ({NOT_COMPARABLE})."
    return "Paper: as printed, on its own 75 private couples; comparable only where data and gallery are the same."


def markdown(table: ResultTable) -> str:
    """A heading, the table, the notes."""
    head = ["percent", *map(heading, table.metrics), "seed sd of MRR"]
    lines = [f"### {table.title}{_synthetic(table)}", "", _line(head), _line(["---", *["---:"] * (len(head) - 1)])]
    for row in table.rows:
        cells = [_with_interval(row.metrics[metric], "<br>") for metric in table.metrics]
        lines.append(_line([row.row.label, *cells, _sd(row)]))
        if row.row.paper:
            lines.append(
                _line([f"*paper{_aside(table)}*", *(f"*{text}*" if text else "" for text in _paper(row, table)), ""])
            )
    compared = [row for row in table.rows if row.difference]
    if compared:
        head = ["minus", "against", *map(heading, table.metrics), "p (MRR)", "p, Holm", "verdict"]
        lines += ["", _line(head), _line(["---", "---", *["---:"] * len(table.metrics), "---:", "---:", "---"])]
        for row, difference in _compared(compared):
            cells = [difference_text(difference.metrics[metric], "<br>") for metric in table.metrics]
            verdict = f"**{difference.verdict}**" if difference.verdict else ""
            label = label_of(table, difference.against)
            lines.append(
                _line([row.row.label, label, *cells, p_text(difference.p), p_text(difference.p_adjusted), verdict])
            )
    return "\n".join([*lines, "", *(f"{note}  " for note in notes(table)), ""])


def latex(table: ResultTable) -> str:
    """A booktabs table with its caption."""
    columns = "l" + "r" * len(table.metrics)
    head = " & ".join(["", *(_escape(heading(metric)) for metric in table.metrics)])
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
    ]
    for row in table.rows:
        values = [f"{100 * row.metrics[metric].value:.1f}" for metric in table.metrics]
        bounds = [_latex_bounds(row.metrics[metric]) for metric in table.metrics]
        lines.append(" & ".join([_escape(row.row.label), *values]) + r" \\")
        if any(bounds):
            lines.append(" & ".join(["", *bounds]) + r" \\")
        if row.row.paper:
            lines.append(" & ".join([rf"\quad paper{_escape(_aside(table))}", *_paper(row, table)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    caption = " ".join(
        [f"{table.title}{_synthetic(table)}. Percent with {_level(table)} intervals.", *_told(table), *notes(table)]
    )
    return "\n".join([*lines, rf"\caption{{{_escape(caption)}}}", rf"\label{{tab:{table.name}}}", r"\end{table}", ""])


def rows_of_csv(tables: Sequence[ResultTable]) -> str:
    """One line a table, row and metric: value, bounds, seed sd, the paper's number, the paired difference."""
    rows = (
        [table.name, row.row.name, metric, *_numbers(row, metric), "synthetic" if table.synthetic else "real"]
        for table in tables
        for row in table.rows
        for metric in table.metrics
    )
    return as_csv(COLUMNS, rows)


def print_tables(tables: Sequence[ResultTable], console: Any) -> None:
    """All tables to a rich console, notes below."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    for table in tables:
        console.print(Text(f"{table.title}{_synthetic(table)}", style="bold"))
        shown = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
        shown.add_column("percent", min_width=12)  # six metrics beside it fill 80 columns
        for metric in table.metrics:
            shown.add_column(heading(metric), justify="right", no_wrap=True)
        for row in table.rows:
            cells = (row.row.label, *(_with_interval(row.metrics[metric], "\n") for metric in table.metrics))
            shown.add_row(*map(Text, cells))
            if row.row.paper:
                shown.add_row(*(Text(text, style="dim") for text in ("paper", *_paper(row, table))))
        console.print(shown)
        for note in [*_told(table), *notes(table)]:
            console.print(Text(note, style="dim"))
        console.print()


def notes(table: ResultTable) -> list[str]:
    """What stands below a table."""
    return [*filter(None, [paper_note(table)]), *table.notes]


def _told(table: ResultTable) -> list[str]:
    """Each comparison in one line."""
    return [
        f"{row.row.label} minus {label_of(table, difference.against)}: {heading(PRIMARY)} "
        f"{difference_text(difference.metrics[PRIMARY], ' ')}{_tested(difference)}."
        for row, difference in _compared(table.rows)
    ]


def _tested(difference: Difference) -> str:
    """Nothing where there is no test; a note says why."""
    return f", p = {p_text(difference.p_adjusted)} after Holm: {difference.verdict}" if difference.verdict else ""


def _compared(rows: Sequence[ResultRow]) -> list[tuple[ResultRow, Difference]]:
    return [(row, row.difference) for row in rows if row.difference]


def label_of(table: ResultTable, name: str) -> str:
    return next(row.row.label for row in table.rows if row.row.name == name)


def _synthetic(table: ResultTable) -> str:
    return " (synthetic data)" if table.synthetic else ""


def _aside(table: ResultTable) -> str:
    return f" ({NOT_COMPARABLE})" if table.synthetic else ""


def _level(table: ResultTable) -> str:
    return f"{100 * table.confidence:g} %"


def _with_interval(interval: Interval, gap: str) -> str:
    """Chance is exact and has none."""
    return f"{100 * interval.value:.1f}" + ("" if is_exact(interval) else f"{gap}{_bounds(interval)}")


def is_exact(interval: Interval) -> bool:
    """Known and not measured, or the same on every split or world: no interval is shown."""
    return interval.low == interval.high


def _bounds(interval: Interval) -> str:
    return f"{100 * interval.low:.1f}-{100 * interval.high:.1f}"


def _latex_bounds(interval: Interval) -> str:
    return "" if is_exact(interval) else rf"{{\scriptsize {_bounds(interval).replace('-', '--')}}}"


def difference_text(interval: Interval, gap: str) -> str:
    bounds = "" if is_exact(interval) else f"{gap}[{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"
    return f"{100 * interval.value:+.1f}{bounds}"


def _paper(row: ResultRow, table: ResultTable) -> list[str]:
    return [f"{row.row.paper[metric]:.1f}" if metric in row.row.paper else "" for metric in table.metrics]


def _sd(row: ResultRow) -> str:
    spread = row.seed_sd[PRIMARY]
    return "" if math.isnan(spread) else f"{100 * spread:.1f}"


def p_text(p: float | None) -> str:
    """Empty where nothing was tested."""
    if p is None:
        return ""
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _numbers(row: ResultRow, metric: str) -> list[Any]:
    cell, difference = row.metrics[metric], row.difference
    spread = row.seed_sd[metric]
    numbers: list[Any] = [cell.value, cell.low, cell.high, "" if math.isnan(spread) else spread]
    numbers.append(row.row.paper.get(metric, ""))
    if difference is None:
        return [*numbers, *[""] * 7]
    gap = difference.metrics[metric]
    tested = [difference.p, difference.p_adjusted, difference.verdict] if metric == PRIMARY else [None] * 3
    return [*numbers, difference.against, gap.value, gap.low, gap.high, *tested]  # None is written as nothing


def _line(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _escape(text: str) -> str:
    """Any text for LaTeX."""
    return text.translate(_LATEX)
