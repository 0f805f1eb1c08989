"""Draw all upper garments: `python -m experiments.tiny_backbone.sheet OUT.png --shot Selfie_CloseUp`."""

import argparse
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from style_match.synthetic.figures import render
from style_match.synthetic.world import (
    SHOT_TYPES,
    STYLES,
    TASTE_DIM,
    TOPS,
    Domain,
    Look,
    WorldParams,
    draw_look,
    stream,
)

GAP_PX, LABEL_PX = 4, 110
PARAMS = WorldParams(rho=0.0, scene_follow=0.2, temperature=0.05, noise=0.1)


def looks(style: str, gender: str, top: str, shot: str, seed: int) -> Iterator[Look]:
    """Yield looks with a garment."""
    index = 0
    while True:
        rng = stream(Domain.STYLE_PHOTOS, seed, index)
        look = draw_look(rng.normal(size=TASTE_DIM), gender, rng, PARAMS, style=style)
        if look.top == top:
            yield dataclasses.replace(look, shot_type=shot)
        index += 1


def sheet(shot: str, columns: int, size_px: int, seed: int) -> Image.Image:
    """Return a sheet with a row for each garment, from the closest to the widest framing."""
    rows = [(style, gender, top) for style in STYLES for gender in "fm" for top in TOPS[style][gender]]
    side = size_px + GAP_PX
    image = Image.new("RGB", (LABEL_PX + columns * side, len(rows) * side), "white")
    pen = ImageDraw.Draw(image)
    for row, (style, gender, top) in enumerate(rows):
        pen.text((2, row * side), f"synthetic\n{style}\n{gender} {top}", fill="black")
        garment = looks(style, gender, top, shot, seed)
        for column, zoom in enumerate(np.linspace(1, -1, columns)):
            look = dataclasses.replace(next(garment), jitter_scale=float(zoom))
            image.paste(render(look, size_px), (LABEL_PX + column * side, row * side))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shot", choices=SHOT_TYPES, default=SHOT_TYPES[0])
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--size-px", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sheet(arguments.shot, arguments.columns, arguments.size_px, arguments.seed).save(arguments.out)


if __name__ == "__main__":
    main()
