"""A table of the report as Markdown, LaTeX, CSV, and on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from style_match.comparison.options import PRIMARY
from style_match.comparison.table import Difference, ResultRow, ResultTable
from style_match.csvs import as_csv
from style_match.evaluation.intervals import Interval
from style_match.evaluation.table import heading

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
