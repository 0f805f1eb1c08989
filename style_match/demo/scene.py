"""The backgrounds of the photos."""

from collections.abc import Callable

import numpy as np
from PIL import Image

from .canvas import Canvas
from .look import Look
from .palette import Colour, hsv, rgb, shade


class Backdrop:
    """Rectangles and discs in fractions of the picture, with the scene's own random numbers and light (0..1)."""

    def __init__(self, *, canvas: Canvas, rng: np.random.Generator, light: float) -> None:
        self.canvas, self.rng, self.light = canvas, rng, light

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        width = self.canvas.width
        self.canvas.pen.rectangle([left * width, top * width, right * width, bottom * width], fill=rgb(colour))

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        width = self.canvas.width
        box = [(x - radius) * width, (y - radius) * width, (x + radius) * width, (y + radius) * width]
        self.canvas.pen.ellipse(box, fill=rgb(colour))


def draw_scene(canvas: Canvas, look: Look, rng: np.random.Generator) -> None:
    """Fill the canvas with a graded wall, the look's scene and its blur."""
    _wall(canvas, look)
    if look.scene in SCENE_PAINTERS:
        SCENE_PAINTERS[look.scene](Backdrop(canvas=canvas, rng=rng, light=look.light))
    if look.background_blur > 0:
        canvas.blur(look.background_blur)


def _wall(canvas: Canvas, look: Look) -> None:
    colour = hsv(look.background_hue, look.background_saturation, 0.55 + 0.4 * look.light)
    ramp = np.linspace(0, 1, canvas.width)[:, None]
    rows = np.array(shade(colour, 1.15))[None] * (1 - ramp) + np.array(shade(colour, 0.85))[None] * ramp
    pixels = np.repeat(rows.astype("uint8")[:, None, :], canvas.width, 1)
    canvas.image.paste(Image.fromarray(pixels), (0, 0))


def _park(back: Backdrop) -> None:
    rng = back.rng
    back.box(0, 0.72, 1, 1, shade("#6fa35a", back.light + 0.1))
    for _ in range(5):
        x = rng.uniform(0, 1)
        back.box(x - 0.015, 0.5, x + 0.015, 0.75, "#6b4a30")
        crown_y, crown_radius = 0.45 + rng.uniform(-0.08, 0.05), rng.uniform(0.09, 0.15)
        back.disc(x, crown_y, crown_radius, shade(hsv(rng.uniform(0.25, 0.38), 0.5, 0.6), 0.7 + 0.3 * back.light))


def _street(back: Backdrop) -> None:
    rng = back.rng
    for left in np.arange(-0.05, 1.05, 0.22):
        facade, roof = hsv(rng.uniform(0, 1), 0.15, rng.uniform(0.35, 0.6)), rng.uniform(0.05, 0.3)
        back.box(left, roof, left + 0.21, 0.85, facade)
        for top in np.arange(roof + 0.04, 0.7, 0.09):
            for window in (left + 0.03, left + 0.09, left + 0.15):
                back.box(window, top, window + 0.035, top + 0.045, str(rng.choice(["#f5e6a8", "#44505c", "#9fb4c4"])))
    back.box(0, 0.82, 1, 1, "#55585c")


def _gym(back: Backdrop) -> None:
    back.box(0, 0, 1, 0.75, "#8f969c")
    back.box(0, 0.75, 1, 1, "#3b3f44")
    for shelf in (0.25, 0.45, 0.62):
        back.box(0.02, shelf, 0.98, shelf + 0.015, "#2c2f33")
        for x in np.arange(0.06, 0.98, 0.12):
            back.disc(x, shelf - 0.03, 0.032, str(back.rng.choice(["#22262b", "#b5322b", "#2b66b5"])))


def _cafe(back: Backdrop) -> None:
    back.box(0, 0, 1, 0.6, "#a57c55")
    back.box(0, 0.6, 1, 0.68, "#5a3b25")
    back.box(0, 0.68, 1, 1, "#7d5a3c")
    for lamp in (0.15, 0.5, 0.85):
        x = lamp + back.rng.uniform(-0.05, 0.05)
        back.box(x - 0.004, 0, x + 0.004, 0.12, "#222222")
        back.disc(x, 0.15, 0.05, "#ffe3a0")
    for x in np.arange(0.05, 1, 0.1):
        back.box(x, 0.5, x + 0.05, 0.6, hsv(back.rng.uniform(), 0.4, 0.7))


def _evening(back: Backdrop) -> None:
    rng = back.rng
    back.box(0, 0, 1, 1, "#23202f")
    for _ in range(26):
        x, y, radius = rng.uniform(), rng.uniform(0, 0.8), rng.uniform(0.012, 0.05)
        back.disc(x, y, radius, str(rng.choice(["#e9b95c", "#d9825a", "#8f7bc4", "#f2e2b0"])))


def _room(back: Backdrop) -> None:
    back.box(0, 0.8, 1, 1, "#a98a68")
    back.box(0.06, 0.12, 0.3, 0.45, "#dfeaf2")
    back.box(0.175, 0.12, 0.185, 0.45, "#ffffff")
    back.box(0.7, 0.5, 0.96, 0.8, "#6d5844")
    for x in (0.73, 0.79, 0.85, 0.9):
        back.box(x, 0.38, x + 0.04, 0.5, hsv(back.rng.uniform(), 0.5, 0.7))


def _beach(back: Backdrop) -> None:
    back.box(0, 0, 1, 0.5, "#9fd0ee")
    back.box(0, 0.5, 1, 0.68, "#3d8fb5")
    back.box(0, 0.68, 1, 1, "#e6cf9c")
    back.disc(0.82, 0.14, 0.07, "#fff3c0")


SCENE_PAINTERS: dict[str, Callable[[Backdrop], None]] = {
    "park": _park,
    "street": _street,
    "gym": _gym,
    "cafe": _cafe,
    "evening": _evening,
    "room": _room,
    "beach": _beach,
}
