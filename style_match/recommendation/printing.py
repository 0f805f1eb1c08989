"""Recommendations on a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from style_match.matcher.vectors import Vectors
from style_match.recommendation.exposure import Spread
from style_match.recommendation.query import Asked

MAX_NAMED = 10


def print_list(asked: Asked, lines: Sequence[Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    """One list; with mode=mutual also the ranks both ways."""
    table = _table()
    table.add_column("rank", justify="right")
    table.add_column("profile", overflow="fold")
    table.add_column("cosine", justify="right")
    mutual = any(line["ranks"] for line in lines)
    for name in ("rank there", "rank back") if mutual else ():
        table.add_column(name, justify="right")
    for name in lines[0]["columns"]:
        table.add_column(Text(name), overflow="fold")
    for line in lines:
        ranks = [str(rank) for rank in line["ranks"]] if mutual else []
        cells = [str(line["rank"]), line["profile_id"], f"{line['score']:.3f}", *ranks, *line["columns"].values()]
        table.add_row(*map(Text, cells))
    _print(f"For {asked.name}", table, about)


def print_spreads(spreads: Mapping[str, Spread], profiles: Vectors, about: Mapping[str, Any]) -> None:
    """What the lists of everybody are like, with and without what was asked for."""
    table = _table()
    table.add_column("")
    for name in ("served", "short", "mutual", "coverage", "Gini", "most"):
        table.add_column(name, justify="right")
    for name, one in spreads.items():
        cells = (one.users, len(one.short), one.mutual, f"{100 * one.coverage:.1f} %", f"{one.gini:.3f}", one.most)
        table.add_row(name, *map(str, cells))
    _print(f"The {about['k']} best for everybody", table, about)
    print(
        f"\nshort: users who got fewer than {about['k']}; mutual: pairs who stand in each other's list; coverage:"
        "\nshare that stands in a list, of all who may; Gini: how unequally often; most: the most frequent one."
    )
    if short := list(spreads.values())[-1].short:
        names = ", ".join(profiles.profile_ids[row] for row in short[:MAX_NAMED])
        more = f" and {len(short) - MAX_NAMED} more" if len(short) > MAX_NAMED else ""
        print(f"Fewer than {about['k']} for {len(short)}: {names}{more}")


def _table() -> Table:
    return Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def _print(what: str, table: Table, about: Mapping[str, Any]) -> None:
    console = Console()
    console.print(Text(f"{what}: {about['profiles']} profiles{', synthetic data' if about['synthetic'] else ''}\n"))
    console.print(table)
