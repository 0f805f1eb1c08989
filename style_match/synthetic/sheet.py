"""Contact sheet of couples, side by side: `python -m style_match.synthetic.sheet OUT.png`."""

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from style_match.synthetic.dataset import couple_profiles
from style_match.synthetic.figures import render
from style_match.synthetic.world import WorldParams

GAP_PX, LABEL_PX = 8, 22


def contact_sheet(*, world_seed: int, columns: int, rows: int, size_px: int, params: WorldParams) -> Image.Image:
    """`columns` times `rows` couples, the two of a couple touching, under a line that says they are synthetic."""
    couples = couple_profiles(world_seed=world_seed, num_couples=columns * rows, params=params)
    width, height = columns * (2 * size_px + GAP_PX) - GAP_PX, rows * (size_px + GAP_PX) - GAP_PX
    sheet = Image.new("RGB", (width, height + LABEL_PX), "white")
    label = f"synthetic couples, drawn by style_match.synthetic, world seed {world_seed}"
    ImageDraw.Draw(sheet).text((4, 4), label, fill="black", font=ImageFont.load_default(13))
    for number, couple in enumerate(couples):
        left = number % columns * (2 * size_px + GAP_PX)
        top = LABEL_PX + number // columns * (size_px + GAP_PX)
        for side, profile in enumerate(couple):
            sheet.paste(render(profile.look, size_px), (left + side * size_px, top))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--world-seed", type=int, default=0)
    parser.add_argument("--columns", type=int, default=5)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--size-px", type=int, default=128)
    parser.add_argument("--rho", type=float, default=0.95)
    parser.add_argument("--scene-follow", type=float, default=0.2)
    parser.add_argument("--temperature", type=float, default=0.05)
    parser.add_argument("--noise", type=float, default=0.1)
    given = vars(parser.parse_args())
    out = given.pop("out")
    params = WorldParams(**{name: given.pop(name) for name in ("rho", "scene_follow", "temperature", "noise")})
    contact_sheet(**given, params=params).save(out)


if __name__ == "__main__":
    main()
