"""Face, hair and what is worn on the head."""

import math

import numpy as np

from .canvas import Canvas
from .look import Look
from .palette import HAIR_COLOURS, SKIN_TONES, shade

EYE_X = 0.36
LENS_COLOUR, FRAME_COLOUR = "#17171a", "#32231a"


def draw_hair_behind(canvas: Canvas, look: Look) -> None:
    """Draw the hair that hangs behind neck and shoulders; call before the torso."""
    colour = shade(HAIR_COLOURS[look.hair_colour], 0.85)
    if look.hair in HAIR_OUTLINES:
        canvas.smooth(HAIR_OUTLINES[look.hair], colour)
    elif look.hair == "bun":
        canvas.ellipse(0, -1.5, 0.48, 0.45, colour)
    elif look.hair == "curly" and look.gender == "f":
        for angle in np.linspace(-0.3, math.pi + 0.3, 11):
            canvas.ellipse(1.05 * math.cos(angle), 0.25 + 0.9 * abs(math.sin(angle)), 0.42, 0.42, colour)


def draw_head(canvas: Canvas, look: Look) -> None:
    """Draw neck, face, front hair, headwear, headphones, glasses and earrings."""
    _face(canvas, look)
    _front_hair(canvas, look)
    if look.headwear:
        HEADWEAR[look.headwear](canvas, look)
    if look.headphones:
        band = [(-1.0, 0.0), (-0.85, -1.05), (0, -1.42), (0.85, -1.05), (1.0, 0.0)]
        canvas.line(band, "#2a2a2e", 0.13)
        canvas.ellipse(1.0, 0.1, 0.25, 0.36, look.accent, mirrored=True)
    if look.eyewear == "sun":
        canvas.smooth([(0.1, -0.2), (0.7, -0.22), (0.66, 0.2), (0.2, 0.2)], LENS_COLOUR, mirrored=True)
        canvas.line([(-0.15, -0.12), (0.15, -0.12)], LENS_COLOUR, 0.07)
    elif look.eyewear == "round":
        for x in (EYE_X, -EYE_X):
            canvas.ring(x, -0.02, 0.27, 0.27, FRAME_COLOUR, 0.07)
        canvas.line([(-0.1, -0.03), (0.1, -0.03)], FRAME_COLOUR, 0.06)
    if look.earrings:
        canvas.ellipse(0.96, 0.45, 0.1, 0.16, "#e6c65a", mirrored=True)


def _face(canvas: Canvas, look: Look) -> None:
    skin, hair = SKIN_TONES[look.skin], HAIR_COLOURS[look.hair_colour]
    canvas.polygon([(-0.36, 0.5), (0.36, 0.5), (0.42, 1.5), (-0.42, 1.5)], shade(skin, 0.85))
    canvas.ellipse(0.93, 0.1, 0.17, 0.24, shade(skin, 0.93), mirrored=True)
    right = [(0.68, -0.9), (0.92, -0.2), (0.85, 0.4), (0.5, 0.95)]
    left = [(-x, y) for x, y in reversed(right)]
    canvas.smooth([(0, -1.12), *right, (0, 1.12), *left], skin)
    if look.beard:
        right = [(0.9, 0.2), (0.86, 0.55), (0.5, 1.05)]
        left = [(-x, y) for x, y in reversed(right)]
        canvas.smooth([*right, (0, 1.22), *left, (-0.5, 0.5), (0, 0.42), (0.5, 0.5)], hair)
    canvas.ellipse(EYE_X, -0.02, 0.17, 0.12, "#ffffff", mirrored=True)
    for x in (EYE_X, -EYE_X):
        canvas.ellipse(x + look.gaze, -0.02, 0.085, 0.1, "#2b2018")
    canvas.line([(0.2, -0.3), (0.42, -0.36), (0.58, -0.28)], shade(hair, 0.8), 0.08, mirrored=True)
    canvas.line([(0, 0.05), (0.09, 0.33), (-0.05, 0.36)], shade(skin, 0.78), 0.05)
    _mouth(canvas, look)


def _mouth(canvas: Canvas, look: Look) -> None:
    if look.smile:
        inside = "#ffffff" if look.smile > 1 else "#b3544f"
        canvas.smooth([(-0.36, 0.55), (0, 0.6), (0.36, 0.55), (0.18, 0.78), (-0.18, 0.78)], inside)
        canvas.line([(-0.36, 0.55), (0, 0.61), (0.36, 0.55)], "#93423f", 0.05)
    else:
        canvas.line([(-0.24, 0.64), (0.24, 0.62)], "#a0524b", 0.08)
    if look.makeup:
        canvas.line([(-0.26, 0.64), (0, 0.68), (0.26, 0.64)], "#c0283c", 0.13)


def _front_hair(canvas: Canvas, look: Look) -> None:
    colour = HAIR_COLOURS[look.hair_colour]
    if look.hair == "curly":
        for angle in np.linspace(-2.9, -0.24, 9):
            canvas.ellipse(math.cos(angle), -0.35 + 0.85 * math.sin(angle), 0.34, 0.33, colour)
    elif look.hair == "buzz":
        crown = [(-0.94, -0.25), (-0.8, -0.95), (0, -1.22), (0.8, -0.95), (0.94, -0.25), (0.6, -0.7), (-0.6, -0.7)]
        canvas.smooth(crown, shade(colour, 1.15))
    else:
        crown = [(-0.97, 0.0), (-1.0, -0.6), (-0.6, -1.18), (0, -1.32), (0.6, -1.18), (1.0, -0.6), (0.97, 0.0)]
        parting = [(0.75, -0.72), (-0.6, -0.5)] if look.hair == "side" else [(0.35, -0.72), (-0.3, -0.7)]
        canvas.smooth([*crown, (0.8, -0.45), *parting, (-0.8, -0.42)], colour)


def _beanie(canvas: Canvas, look: Look) -> None:
    dome = [(-1.02, -0.4), (-0.95, -1.0), (-0.4, -1.6), (0.4, -1.6), (0.95, -1.0), (1.02, -0.4)]
    canvas.smooth(dome, look.hat_colour)
    canvas.polygon([(-1.05, -0.75), (1.05, -0.75), (1.05, -0.35), (-1.05, -0.35)], shade(look.hat_colour, 0.75))


def _cap(canvas: Canvas, look: Look) -> None:
    canvas.smooth([(-1.0, -0.45), (-0.85, -1.15), (0, -1.45), (0.85, -1.15), (1.0, -0.45)], look.hat_colour)
    canvas.smooth([(-0.2, -0.55), (1.0, -0.62), (1.65, -0.35), (1.0, -0.35)], shade(look.hat_colour, 0.7))
    canvas.ellipse(0, -0.95, 0.2, 0.2, look.accent)


def _bucket(canvas: Canvas, look: Look) -> None:
    canvas.polygon([(-0.85, -1.35), (0.85, -1.35), (1.0, -0.6), (-1.0, -0.6)], look.hat_colour)
    brim = [(-1.0, -0.65), (1.0, -0.65), (1.4, -0.2), (-1.4, -0.2)]
    canvas.polygon(brim, shade(look.hat_colour, 0.8))


def _headband(canvas: Canvas, look: Look) -> None:
    canvas.line([(-0.93, -0.5), (-0.5, -0.72), (0, -0.78), (0.5, -0.72), (0.93, -0.5)], look.hat_colour, 0.26)


def _fedora(canvas: Canvas, look: Look) -> None:
    canvas.polygon([(-0.8, -1.6), (0.8, -1.6), (0.95, -0.75), (-0.95, -0.75)], look.hat_colour)
    canvas.ellipse(0, -0.68, 1.65, 0.2, shade(look.hat_colour, 0.85))
    canvas.line([(-0.92, -0.9), (0.92, -0.9)], shade(look.hat_colour, 0.5), 0.2)


HEADWEAR = {"beanie": _beanie, "cap": _cap, "bucket": _bucket, "band": _headband, "fedora": _fedora}

HAIR_OUTLINES = {
    "long": [(-0.9, -0.9), (0.9, -0.9), (1.12, 0.5), (1.05, 2.5), (0.5, 2.7), (-0.5, 2.7), (-1.05, 2.5), (-1.12, 0.5)],
    "wavy": [
        (-0.95, -0.9),
        (0.95, -0.9),
        (1.2, 0.1),
        (1.05, 0.8),
        (1.35, 1.5),
        (1.15, 2.3),
        (-1.15, 2.3),
        (-1.35, 1.5),
        (-1.05, 0.8),
        (-1.2, 0.1),
    ],
    "bob": [(-0.95, -0.8), (0.95, -0.8), (1.15, 0.2), (1.05, 1.0), (-1.05, 1.0), (-1.15, 0.2)],
    "pony": [(0.5, -1.0), (1.3, -0.9), (1.5, 0.3), (1.2, 1.4), (0.95, 0.4)],
}
