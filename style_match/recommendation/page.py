"""recommendations.html: who is recommended, with photos, on one page that asks nothing of the network."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from style_match import progress
from style_match.errors import UserError
from style_match.matcher.vectors import Vectors
from style_match.recommendation.exposure import Spread
from style_match.recommendation.query import Asked
from style_match.template import fill
from style_match.thumbnail import as_uri, thumbnail

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
