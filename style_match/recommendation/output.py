"""What recommend and search have in common once the answers are found: their lines and their page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from omegaconf import DictConfig

from style_match.errors import UserError
from style_match.files import write_whole
from style_match.matcher.matcher import StyleMatcher
from style_match.matcher.vectors import Vectors
from style_match.recommendation.exposure import Spread
from style_match.recommendation.page import page, shown_columns
from style_match.recommendation.query import Asked

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
