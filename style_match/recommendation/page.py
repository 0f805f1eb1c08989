"""recommendations.html: who is recommended, with photos, on one page that asks nothing of the network."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

from style_match.errors import UserError
from style_match.matcher.vectors import Vectors
from style_match.recommendation.exposure import Spread
from style_match.recommendation.query import Asked

HIDDEN = ("user_id", "split", "duplicate_group")  # columns that are not shown
JPEG_QUALITY = 85


def page(
    lists: Sequence[tuple[Asked, Sequence[Mapping[str, Any]]]],
    profiles: Vectors,
    *,
    about: Mapping[str, Any],
    spreads: Mapping[str, Spread],
    thumbnail_px: int,
    max_source_pixels: int,
) -> str:
    """The page; a list has a line for each recommended one: rank, profile_id, score, columns, and row of the profile.

    Everything that was data is escaped. Photos lose all metadata of their files.

    Args:
        about: matcher, data, k, where, mode, cap and whether the data is synthetic, for the head of the page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    photos = {asked.photo for asked, _ in lists if asked.photo}
    photos |= {profiles.photos[line["row"]][0] for _, lines in lists for line in lines}
    environment = Environment(
        loader=PackageLoader("style_match", "recommendation"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja").render(
        lists=[
            (asked, [{**line, "photo": profiles.photos[line["row"]][0]} for line in lines]) for asked, lines in lists
        ],
        thumbnails={photo: thumbnail(photo, thumbnail_px, max_source_pixels) for photo in sorted(photos)},
        about=about,
        spreads=spreads,
    )


def shown_columns(profiles: Vectors) -> list[str]:
    """The further columns of profiles.csv that a reader wants to see."""
    names = dict.fromkeys(name for cells in profiles.columns for name in cells)
    return [name for name in names if name not in HIDDEN]


def thumbnail(photo: str, side_px: int, max_source_pixels: int) -> str:
    """A small picture as a data URI; empty where the photo is none, as where the matcher never looks at photos."""
    from PIL import ImageOps

    from style_match.data.image import decode

    try:
        picture = decode(photo, max_source_pixels=max_source_pixels)
    except UserError:
        return ""
    content = io.BytesIO()
    ImageOps.contain(picture, (side_px, side_px)).save(content, "JPEG", quality=JPEG_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
