"""Recommendations on a terminal, and recommendations.html: one page that asks nothing of the network."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from omegaconf import DictConfig
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from style_match.data.images import as_uri, thumbnail
from style_match.serving.matcher import StyleMatcher, Vectors
from style_match.serving.mutual import Spread
from style_match.serving.query import Asked
from style_match.utils import progress
from style_match.utils.errors import UserError
from style_match.utils.files import write_whole
from style_match.utils.html import fill

# Recommendations on a terminal.


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


TEMPLATE = Path(__file__).with_name("page.html.jinja")
HIDDEN = ("user_id", "split", "duplicate_group")  # columns that are not shown


def page(
    lists: Sequence[tuple[Asked, Sequence[Mapping[str, Any]]]],
    profiles: Vectors,
    *,
    about: Mapping[str, Any],
    spreads: Mapping[str, Spread],
    thumbnail_px: int,
    max_source_pixels: int,
    are_seen: bool,
) -> str:
    """The page; a list has a line for each recommended one: rank, profile_id, score, columns, and row of the profile.

    Everything that was data is escaped. Photos lose all metadata of their files.

    Args:
        about: matcher, data, k, where, mode, cap and whether the data is synthetic, for the head of the page.
        are_seen: whether the matcher looks at photos; if not, one that is none is left empty, which is said.

    Raises:
        UserError: a photo cannot be read, where the matcher looks at photos.
    """
    photos = {asked.photo for asked, _ in lists if asked.photo}
    photos |= {profiles.photos[line["row"]][0] for _, lines in lists for line in lines}
    return fill(
        TEMPLATE,
        lists=[
            (asked, [{**line, "photo": profiles.photos[line["row"]][0]} for line in lines]) for asked, lines in lists
        ],
        thumbnails=_thumbnails(photos, thumbnail_px, max_source_pixels, are_seen),
        about=about,
        spreads=spreads,
    )


def shown_columns(profiles: Vectors) -> list[str]:
    """The further columns of profiles.csv that a reader wants to see."""
    names = dict.fromkeys(name for cells in profiles.columns for name in cells)
    return [name for name in names if name not in HIDDEN]


def _thumbnails(photos: Collection[str], side_px: int, max_source_pixels: int, are_seen: bool) -> dict[str, str]:
    """Photo -> data URI; empty where there is nothing to show."""
    made, faults = dict.fromkeys(photos, ""), []
    for photo in sorted(photos):
        try:
            made[photo] = as_uri(thumbnail(photo, side_px, max_source_pixels=max_source_pixels))
        except UserError as error:
            if are_seen:
                raise
            faults.append(str(error))
    if faults:
        progress.say(f"{len(faults)} of {len(photos)} photos cannot be shown on the page, such as {faults[0]}")
    return made


# What recommend and search have in common once the answers are found: their lines and their page.


Line: TypeAlias = dict[str, Any]
PAGE = "recommendations.html"


def lines_of(profiles: Vectors, rows: Sequence[int], scores: Sequence[float]) -> list[Line]:
    """The lines of a list, best first, as `page` and `print_list` take them."""
    names = shown_columns(profiles)
    return [
        {
            "rank": rank,
            "row": row,
            "profile_id": profiles.profile_ids[row],
            "score": score,
            "ranks": None,
            "columns": {name: profiles.columns[row].get(name, "") for name in names},
        }
        for rank, (row, score) in enumerate(zip(rows, scores, strict=True), start=1)
    ]


def write_page(
    cfg: DictConfig,
    matcher: StyleMatcher,
    profiles: Vectors,
    lists: Sequence[tuple[Asked, Sequence[Line]]],
    spreads: Mapping[str, Spread],
    about: Mapping[str, Any],
) -> Path:
    """Write the page into the folder `cfg.out`, which is made and returned.

    Raises:
        UserError: the folder cannot be made or written.
    """
    out = Path(cfg.out).expanduser()
    html = page(
        lists,
        profiles,
        about=about,
        spreads=spreads,
        thumbnail_px=cfg.page.thumbnail_px,
        max_source_pixels=matcher.folder.about["data"]["options"]["max_source_pixels"],
        are_seen=bool(matcher.folder.about["prompt"]["image"]),
    )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"Cannot make {out}: {error.strerror}. Give another out.") from error
    write_whole(out / PAGE, html)
    return out
