"""Recommendations and search results in the terminal and on recommendations.html, which loads nothing else."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from style_match.data.images import as_uri, thumbnail
from style_match.serving.index.base import Answers
from style_match.serving.matcher_folder import MatcherFolder
from style_match.serving.mutual import Spread
from style_match.serving.profiles import ProfileEmbeddings
from style_match.serving.recommend import Query
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.html import fill

# rank, profile_id, score, ranks (both ways, or None), known (note on a couple with the query, or ""), columns, photo
Line: TypeAlias = dict[str, Any]
Lists: TypeAlias = Sequence[tuple[Query, Sequence[Line]]]

TEMPLATE = Path(__file__).with_name("page.html.jinja")
HIDDEN = ("user_id", "split", "duplicate_group")  # columns that are not shown
MAX_NAMED = 10  # users with short lists that are printed


def lines_of(profiles: ProfileEmbeddings, answers: Answers, query: Query | None = None) -> list[Line]:
    """Return the lines of a list of (profile id, score) for a query, best first."""
    known = {} if query is None else profiles.known(query.person)
    names = dict.fromkeys(name for cells in profiles.columns for name in cells if name not in HIDDEN)
    lines = []
    for rank, (profile_id, score) in enumerate(answers, start=1):
        row = profiles.row_of[profile_id]
        columns = {name: profiles.columns[row].get(name, "") for name in names}
        line = {"rank": rank, "profile_id": profile_id, "score": score, "ranks": None, "columns": columns}
        lines.append({**line, "known": known.get(profile_id, ""), "photo": profiles.photos[row][0]})
    return lines


# In the terminal


def print_list(query: Query, lines: Sequence[Line], about: Mapping[str, Any]) -> None:
    """Print one list; with mode=mutual also the ranks both ways."""
    table = _table("rank", "profile", "cosine")
    is_mutual = lines[0]["ranks"] is not None
    for name in ("rank there", "rank back") if is_mutual else ():
        table.add_column(name, justify="right")
    has_known = any(line["known"] for line in lines)
    if has_known:
        table.add_column("known")
    for name in lines[0]["columns"]:
        table.add_column(Text(name), overflow="fold")
    for line in lines:
        ranks = [str(rank) for rank in line["ranks"]] if is_mutual else []
        cells = [str(line["rank"]), line["profile_id"], f"{line['score']:.3f}", *ranks]
        cells += [line["known"]] if has_known else []
        cells += line["columns"].values()
        table.add_row(*map(Text, cells))
    _print(f"For {query.name}", table, about)


def print_spreads(spreads: Mapping[str, Spread], profiles: ProfileEmbeddings, about: Mapping[str, Any]) -> None:
    """Print how the recommendations of all users are spread over the profiles."""
    table = _table("", *("served", "short", "mutual", "coverage", "Gini", "most"))
    for name, one in spreads.items():
        cells = (one.users, len(one.short), one.mutual, f"{100 * one.coverage:.1f} %", f"{one.gini:.3f}", one.most)
        table.add_row(name, *map(str, cells))
    _print(f"The {about['k']} best for everybody", table, about)
    print(
        f"\nshort: users with fewer than {about['k']}; mutual: pairs that are in each other's list; coverage: share of"
        "\nthe candidates that are in a list; Gini: how unequally often; most: how often the most frequent one is."
    )
    if short := list(spreads.values())[-1].short:
        names = ", ".join(profiles.profile_ids[row] for row in short[:MAX_NAMED])
        more = f" and {len(short) - MAX_NAMED} more" if len(short) > MAX_NAMED else ""
        print(f"Fewer than {about['k']} for {len(short)}: {names}{more}")


def _table(first: str, *others: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, justify="right" if first else "left")
    for name in others:
        table.add_column(name, justify="left" if name == "profile" else "right", overflow="fold")
    return table


def _print(title: str, table: Table, about: Mapping[str, Any]) -> None:
    console = Console()
    console.print(Text(f"{title}: {about['profiles']} profiles{', synthetic data' if about['synthetic'] else ''}\n"))
    console.print(table)


# On the page


def page(
    lists: Lists,
    matcher: MatcherFolder,
    *,
    about: Mapping[str, Any],
    spreads: Mapping[str, Spread],
    thumbnail_px: int,
) -> str:
    """Return the page as HTML. Data is escaped, and photos have no metadata; bad photos are left out with a note.

    Args:
        lists: Queries with their lines.
        matcher: The matcher folder, which bounds the pixels of a photo.
        about: query, matcher, data, profiles, num_users, k, where, mode, cap and synthetic.
        spreads: From `recommend_to_all`; empty for one query.
        thumbnail_px: Longest side of a photo.
    """
    photos = {query.photo for query, _ in lists if query.photo}
    photos |= {line["photo"] for _, lines in lists for line in lines}
    thumbnails, faults = dict.fromkeys(photos, ""), []
    for photo in sorted(photos):
        try:
            bound = matcher.about["data"]["options"]["max_source_pixels"]
            thumbnails[photo] = as_uri(thumbnail(photo, thumbnail_px, max_source_pixels=bound))
        except UserError as error:
            faults.append(str(error))
    if faults:
        progress.say(f"{len(faults)} of {len(photos)} photos cannot be shown on the page, such as {faults[0]}")
    return fill(TEMPLATE, lists=lists, thumbnails=thumbnails, about=about, spreads=spreads)
