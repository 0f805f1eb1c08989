"""Pictures for the loggers with logger.log_images=true: queries beside their partner and their first answers."""

from dataclasses import dataclass

from omegaconf import DictConfig
from PIL import Image, ImageDraw, ImageFont, ImageOps

from style_match.backbone.inputs import Inputs
from style_match.data.images import decode
from style_match.evaluation.ranks import DIRECTIONS
from style_match.models.module import TestResults

WRONG, RIGHT, INK, PAPER = "#d9d9d9", "#2a9d57", "#222222", "#ffffff"


@dataclass(frozen=True)
class Strip:
    """A picture of one query. It is drawn from pixels, so it contains no metadata of the photos' files."""

    picture: Image.Image
    caption: str


def photo_strips(cfg: DictConfig, inputs: Inputs, results: TestResults) -> list[Strip]:
    """Return strips of some queries of the test split, evenly spread, with the answers of the reported model.

    A strip shows the query, its true partner (for styles the best answer of its class) and the first answers; right
    answers have a frame. A profile with several photos is shown by its first one.

    Raises:
        UserError: A photo cannot be read.
    """
    options = cfg.logger.images
    result, folder = results.trained or results.frozen, inputs.folder
    couples = folder.task == "couple"
    drawn = []
    for number in _spread(len(result.query_ids), options.num_queries):
        query, partner = result.query_ids[number], result.partner_ids[number]
        direction = int(result.ranks.direction[number])
        place = f"{int(result.ranks.rank[number])} of {int(result.ranks.gallery[number])}"
        answers = result.answer_ids[number][: options.num_answers]
        shown = [
            ("query", query, False),
            (f"partner: {place}" if couples else f"class: {place}", partner, True),
        ]
        for i, answer in enumerate(answers, start=1):
            right = answer == partner if couples else folder.labels[answer] == folder.labels[query]
            shown.append((f"answer {i}", answer, right))
        tiles = [
            (label, decode(folder.photos_of(profile)[0].path, max_source_pixels=cfg.data.max_source_pixels), right)
            for label, profile, right in shown
        ]
        caption = [
            f"query {number}",
            DIRECTIONS[direction],
            f"rank {place}",
            *["synthetic"] * inputs.synthetic,
        ]
        drawn.append(Strip(_draw(tiles, options.side_px), ", ".join(caption)))
    return drawn


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` of the numbers below `count`, evenly spread."""
    return [i * count // most for i in range(most)] if most < count else list(range(count))


def _draw(tiles: list[tuple[str, Image.Image, bool]], side_px: int) -> Image.Image:
    """Return the tiles in a row, each within `side_px`, with their labels below."""
    edge, text = max(side_px // 40, 2), max(side_px // 10, 10)
    width, height = side_px + 4 * edge, side_px + 4 * edge + 2 * text
    strip = Image.new("RGB", (width * len(tiles), height), PAPER)
    pen, font = ImageDraw.Draw(strip), ImageFont.load_default(text)
    for place, (label, photo, right) in enumerate(tiles):
        left = place * width
        small = ImageOps.contain(photo, (side_px, side_px))
        pen.rectangle((left + edge, edge, left + width - edge, width - edge), fill=RIGHT if right else WRONG)
        strip.paste(small, (left + (width - small.width) // 2, (width - small.height) // 2))
        pen.text((left + width // 2, width + text // 2), label, fill=INK, font=font, anchor="ma")
    return strip
