"""The table of text search: how well photos are found by captions and by short texts."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from style_match.evaluation.table import heading, interval_of

ROWS = {
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
    """A table for either kind of query, in percent, with the interval of the MRR."""
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
    """(name, cells) of each way of searching."""
    for name, cells in rows.items():
        written = [f"{100 * cells[metric]['value']:.1f}" for metric in metrics]
        if name != "chance":
            low, high = interval_of(cells["mrr"])
            written[metrics.index("mrr")] += f" ({100 * low:.1f}-{100 * high:.1f})"
        yield ROWS[name], written
