"""Tables that a run prints: chance, frozen backbone and trained head, and the search of photos by texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

ROWS = {"chance": "chance", "frozen": "frozen backbone", "trained": "trained head"}
BY_CSLS = "the frozen backbone too; val/mrr, by which epochs are selected, is the cosine's."
_SHORT = {"recall": "R", "precision": "P"}


def results_table(
    sections: Mapping[str, Any],
    *,
    width: int,
    gain: Mapping[str, Any] | None = None,
    seed: int | None = None,
    synthetic: bool = False,
    csls_k: int | None = None,
) -> RenderableType:
    """Return the results of the test split in percent, each model with its intervals on the next line.

    If the columns do not fit, there are several tables.

    Args:
        sections: Content of metrics.json.
        width: Columns of the terminal, 80 or more.
        gain: `Evaluator.difference(trained, frozen)`; None without a trained head.
        seed: Of the training.
        synthetic: Whether the people are drawn.
        csls_k: evaluation.csls_k.
    """
    models = {name: sections[name] for name in ROWS if name in sections}
    frozen = models["frozen"]
    columns = sorted(
        (name for name in frozen if isinstance(frozen[name], Mapping) and name != "median_rank"), key=_place
    )
    widths = [1 + max(len(heading(name)), *(len(_bounds(models[row][name])) for row in models)) for name in columns]
    lines = _pack(columns, widths, width - len(ROWS["frozen"]))
    tables = [part for line in lines for part in (_table(models, line), Text())]
    by_csls = [] if csls_k is None else [f"Ranked by CSLS (k={csls_k}), {BY_CSLS}"]
    notes = [Text(note, style="dim") for note in (*by_csls, *_notes(frozen, columns, gain, seed))]
    return Group(Text(title(frozen, synthetic=synthetic) + "\n", style="bold"), *tables, *notes)


def print_results(
    sections: Mapping[str, Any],
    *,
    gain: Mapping[str, Any] | None = None,
    seed: int | None = None,
    synthetic: bool = False,
    csls_k: int | None = None,
    console: Console | None = None,
) -> None:
    """Print `results_table` to stdout; into a pipe without colour and 80 columns wide (COLUMNS changes that)."""
    console = console or Console()
    options: dict[str, Any] = {"gain": gain, "seed": seed, "synthetic": synthetic, "csls_k": csls_k}
    console.print(results_table(sections, width=console.width, **options))


def title(section: Mapping[str, Any], *, synthetic: bool) -> str:
    """Return a title such as "Test split: 150 queries, gallery of 75, synthetic data"."""
    text = f"Test split: {section['queries']:,} queries, gallery of {section['gallery']:,}"
    return text + (", synthetic data" if synthetic else "")


def heading(metric: str) -> str:
    """Return the short name of a metric: R@5 for recall@5, MAP@R for map@r."""
    name, _, k = metric.partition("@")
    return f"{_SHORT.get(name, name.upper())}@{k.upper()}" if k else name.upper()


def interval_of(cell: Mapping[str, Any]) -> Sequence[float]:
    """Return [low, high] of a metric of metrics.json, for any confidence."""
    return next(bounds for key, bounds in cell.items() if key.startswith("ci"))


def one_training(seed: int | None) -> str:
    """Return a text for a difference of a single training, whose interval does not hold for other seeds."""
    return "one training" + ("" if seed is None else f", seed {seed}")


def gain_text(cell: Mapping[str, Any]) -> str:
    """Return a paired difference in points, such as "+12.7 [+5.3, +20.1]"."""
    low, high = interval_of(cell)
    return f"{100 * cell['value']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def _table(models: Mapping[str, Any], columns: Sequence[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column("percent", style="cyan", no_wrap=True)
    for column in columns:
        table.add_column(heading(column), justify="right", no_wrap=True)
    for name, section in models.items():
        values = [f"{100 * section[column]['value']:.1f}" for column in columns]
        table.add_row(ROWS[name], *values, style="bold" if name == "trained" else "")
        if name != "chance":  # which is exact
            bounds = [_bounds(section[column]) for column in columns]
            table.add_row(f"  {_confidence(section[columns[0]])} % interval", *bounds, style="dim")
    return table


def _confidence(cell: Mapping[str, Any]) -> str:
    return next(key for key in cell if key.startswith("ci"))[2:]


def _bounds(cell: Mapping[str, Any]) -> str:
    low, high = interval_of(cell)
    return f"{100 * low:.1f}-{100 * high:.1f}"


def _place(metric: str) -> int:
    """Return the position of a metric: hit rates and MRR first, as in the paper, then those of styles only."""
    return next(i for i, name in enumerate(("recall", "mrr", "precision", "map")) if metric.startswith(name))


def _pack(columns: Sequence[str], widths: Sequence[int], room: int) -> list[list[str]]:
    """Return the columns in order, in as few lines of at most `room` characters as possible."""
    lines: list[list[str]] = []
    left = 0
    for column, width in zip(columns, widths, strict=True):
        if not lines or width > left:
            lines.append([])
            left = room
        lines[-1].append(column)
        left -= width
    return lines


def _notes(
    section: Mapping[str, Any], columns: Sequence[str], gain: Mapping[str, Any] | None, seed: int | None
) -> list[str]:
    notes = ["Intervals come from a bootstrap over connected people. Chance is exact."]
    if any(column.startswith("precision") for column in columns):
        notes.append("R@k: hit rate. P@k: share of the top k in the query's class.")
    if gain is not None:
        shown = dict.fromkeys((columns[0], "mrr"))
        gains = ", ".join(f"{heading(name)} {gain_text(gain[name])}" for name in shown)
        notes.append(f"Trained minus frozen ({one_training(seed)}): {gains}")
    if section["dropped_ks"]:
        dropped = ", ".join(str(k) for k in section["dropped_ks"])
        notes.append(f"Left out because above the gallery of {section['gallery']:,}: k = {dropped}")
    if section.get("skipped"):
        notes.append(f"No queries because the only one of their class: {section['skipped']} profiles")
    return notes


TEXT_ROWS = {
    "chance": "chance",
    "untrained": "untrained path",
    "captions": "captions, untrained",
    "trained": "trained",
    "trained captions": "captions, trained",
    "trained both": "both, trained",
}
TITLES = {"caption": "Photos found by their captions", "part": "Photos found by parts of their captions"}


def print_text(section: Mapping[str, Any], *, synthetic: bool) -> None:
    """Print the section `text` of metrics.json."""
    Console().print(text_table(section, synthetic=synthetic))


def text_table(section: Mapping[str, Any], *, synthetic: bool) -> RenderableType:
    """Return a table for each kind of query, in percent, with the interval of the MRR."""
    parts: list[RenderableType] = []
    for kind, rows in section.items():
        counts = rows["chance"]
        title = f"{TITLES[kind]}: {counts['queries']:,} texts, {counts['gallery']:,} photos"
        metrics = [name for name, cell in counts.items() if isinstance(cell, Mapping)]
        table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 0, 0, 1))
        table.add_column("percent", style="cyan", no_wrap=True)
        for metric in metrics:
            table.add_column(heading(metric), justify="right", no_wrap=True)
        for name, cells in text_rows(rows, metrics):
            table.add_row(name, *cells)
        parts += [Text(title + (", synthetic data" if synthetic else "") + "\n", style="bold"), table, Text()]
    note = "R@k: a right photo is among the first k. MRR with its interval over people. Captions: by their texts."
    return Group(*parts, Text(note, style="dim"))


def text_rows(rows: Mapping[str, Any], metrics: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield (name, cells) of each way of searching."""
    for name, cells in rows.items():
        written = [f"{100 * cells[metric]['value']:.1f}" for metric in metrics]
        if name != "chance":
            low, high = interval_of(cells["mrr"])
            written[metrics.index("mrr")] += f" ({100 * low:.1f}-{100 * high:.1f})"
        yield TEXT_ROWS[name], written
