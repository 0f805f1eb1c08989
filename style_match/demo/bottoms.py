"""Legs, trousers and skirts below the waist, shoes."""

from .canvas import Canvas
from .look import Look
from .palette import SKIN_TONES, shade

WAIST_Y, ANKLE_Y = 5.6, 11.6
TROUSER_WIDTH = {"leggings": 0.58, "suit": 0.78, "wide": 1.12, "jeans": 0.72, "cargo": 0.95, "joggers": 0.72}


def draw_bottom(canvas: Canvas, look: Look) -> None:
    """Draw what is below the top's hem. Skirts hang over the legs and are drawn with the top."""
    half_waist = 1.25 if look.gender == "f" else 1.2
    if look.bottom in ("dress", "skirt"):
        skin = SKIN_TONES[look.skin]
        canvas.polygon([(0.12, 7), (0.95, 7), (0.62, ANKLE_Y), (0.25, ANKLE_Y)], skin, mirrored=True)
    elif look.bottom == "shorts":
        _shorts(canvas, look, half_waist)
    else:
        _trousers(canvas, look, half_waist)
    _shoes(canvas, look)


def _shorts(canvas: Canvas, look: Look, half_waist: float) -> None:
    skin = SKIN_TONES[look.skin]
    canvas.polygon([(0.1, 7), (1.0, 7), (0.68, ANKLE_Y), (0.25, ANKLE_Y)], skin, mirrored=True)
    canvas.polygon([(0, WAIST_Y), (half_waist, WAIST_Y), (1.32, 8.1), (0.12, 8.1)], look.bottom_colour, mirrored=True)
    stripe = [(1.08, WAIST_Y), (half_waist, WAIST_Y), (1.32, 8.1), (1.12, 8.1)]
    canvas.polygon(stripe, look.accent, mirrored=True)


def _trousers(canvas: Canvas, look: Look, half_waist: float) -> None:
    kind, colour = look.bottom, look.bottom_colour
    hem = 0.25 + TROUSER_WIDTH[kind] * 0.75
    leg = [(0, WAIST_Y), (half_waist, WAIST_Y), (1.1, 8.6), (hem, ANKLE_Y), (0.16, ANKLE_Y), (0.05, 7)]
    canvas.polygon(leg, colour, mirrored=True)
    canvas.line([(0.0, 6.2), (0.0, 7)], shade(colour, 0.75), 0.06)
    if kind in ("leggings", "joggers"):
        outer = [(half_waist, WAIST_Y), (1.1, 8.6), (hem, ANKLE_Y)]
        inner = [(x - 0.16, y) for x, y in reversed(outer)]
        canvas.polygon(outer + inner, look.accent, mirrored=True)
    elif kind == "cargo":
        canvas.polygon([(0.7, 8), (1.1, 8), (1.06, 8.9), (0.7, 8.9)], shade(colour, 0.8), mirrored=True)
    elif kind == "jeans" and look.ripped_jeans:
        hole = [(0.35, 8.6), (0.75, 8.5), (0.72, 8.8), (0.4, 8.85)]
        canvas.polygon(hole, SKIN_TONES[look.skin], mirrored=True)
    elif kind == "suit":
        canvas.line([(0.55, 6.2), (0.5, ANKLE_Y)], shade(colour, 0.8), 0.05, mirrored=True)


def _shoes(canvas: Canvas, look: Look) -> None:
    colour = look.shoe_colour
    if look.shoe == "heels":
        canvas.polygon([(0.2, 11.5), (0.66, 11.5), (0.85, 12.1), (0.3, 12.1)], colour, mirrored=True)
        canvas.line([(0.28, 11.6), (0.28, 12.3)], colour, 0.09, mirrored=True)
        return
    canvas.smooth([(0.12, 11.5), (0.72, 11.5), (1.12, 12.0), (1.12, 12.3), (0.1, 12.3)], colour, mirrored=True)
    if look.shoe == "sneaker":
        canvas.polygon([(0.08, 12.2), (1.15, 12.2), (1.15, 12.42), (0.08, 12.42)], "#f5f5f5", mirrored=True)
        canvas.line([(0.35, 11.8), (0.8, 11.85)], look.accent, 0.1, mirrored=True)
    elif look.shoe == "boot":
        canvas.polygon([(0.12, 10.7), (0.78, 10.7), (0.78, 11.8), (0.12, 11.8)], colour, mirrored=True)
