"""Draws a figure: garments, legs, head and accessories, in figure units."""

import math

import numpy as np

from style_match.synthetic.canvas import Canvas, Point
from style_match.synthetic.world import HAIR_COLOURS, SKIN_TONES, Colour, Look, shade

HEM_Y = 5.8
JACKETS = ("trench", "blazer", "suit")
WAIST_Y, ANKLE_Y = 5.6, 11.6
TROUSER_WIDTH = {"leggings": 0.58, "suit": 0.78, "wide": 1.12, "jeans": 0.72, "cargo": 0.95, "joggers": 0.72}
EYE_X = 0.36
LENS_COLOUR, FRAME_COLOUR = "#17171a", "#32231a"


class Torso:
    """Torso and arms of one figure with the upper garments, skirts and jewellery."""

    def __init__(self, *, canvas: Canvas, look: Look) -> None:
        self.canvas, self.look = canvas, look
        self.skin, self.colour, self.accent = SKIN_TONES[look.skin], look.top_colour, look.accent
        self.shoulder, self.waist = (1.75, 1.1) if look.gender == "f" else (2.1, 1.35)

    def draw(self, arms: str) -> None:
        """Draw everything, from back to front.

        Args:
            arms: "down", "hip" (one on the hip), "phone" (one hand at the chest) or "selfie" (one towards the camera).
        """
        shoulder = self.shoulder
        hanging = [(shoulder - 0.2, 2.1), (shoulder + 0.2, 4.1), (shoulder + 0.05, 6.1)]
        if arms == "down":
            self._arm(hanging, mirrored=True)
        self._body()
        self._garment()
        self._skirts()
        self._jewellery()
        if arms == "phone":
            self._arm([(-x, y) for x, y in hanging])
            self._arm([(shoulder - 0.2, 2.1), (shoulder + 0.45, 3.7), (0.95, 2.2)])
        elif arms == "selfie":
            self._arm([(shoulder - 0.2, 2.2), (shoulder + 0.9, 3.2), (shoulder + 1.6, 2.7)])
        elif arms == "hip":
            self._arm([(-shoulder + 0.2, 2.1), (-shoulder - 0.8, 3.7), (-self.waist - 0.05, 5.0)])
            self._arm(hanging)

    def _arm(self, joints: list[Point], *, mirrored: bool = False) -> None:
        canvas, look, top = self.canvas, self.look, self.look.top
        start, elbow, (hand_x, hand_y) = joints
        sleeve = self.skin if top in ("tank", "strapdress") else self.colour
        canvas.line(joints, sleeve, 0.85 if top == "puffer" else 0.62, mirrored=mirrored)
        if top in ("tee", "graphic", "polo"):
            canvas.line(joints[1:], self.skin, 0.46, mirrored=mirrored)
            cuff = ((start[0] + elbow[0]) / 2, (start[1] + elbow[1]) / 2)
            canvas.line([start, cuff], self.colour, 0.7, mirrored=mirrored)
        if top == "track":
            canvas.line(joints, self.accent, 0.13, mirrored=mirrored)
        canvas.ellipse(hand_x, hand_y, 0.3, 0.33, self.skin, mirrored=mirrored)
        if look.watch:
            strap = [(hand_x - 0.2, hand_y - 0.4), (hand_x + 0.2, hand_y - 0.4)]
            canvas.line(strap, "#d8b24a" if look.watch == "gold" else "#222222", 0.17)

    def _body(self) -> None:
        shoulder, waist = self.shoulder, self.waist
        right = [
            (0.55, 1.45),
            (shoulder - 0.25, 1.75),
            (shoulder, 2.2),
            (shoulder - 0.35, 3.2),
            (waist, 4.5),
            (waist + 0.12, HEM_Y),
        ]
        left = [(-x, y) for x, y in reversed(right)]
        self.canvas.smooth([(0, 1.35), *right, *left], self.skin if self.look.top == "strapdress" else self.colour)

    def _neckline(self, colour: Colour, half_width: float, depth: float) -> None:
        edge = [(-half_width, 1.1), (half_width, 1.1), (half_width, 1.45), (0, depth), (-half_width, 1.45)]
        self.canvas.smooth(edge, colour)

    def _garment(self) -> None:
        top = self.look.top
        if top in ("tee", "graphic", "sweater", "knit"):
            self._neckline(self.skin, 0.6, 1.95)
        if top in JACKETS:
            self._jacket()
        elif hasattr(self, f"_{top}"):
            getattr(self, f"_{top}")()

    def _graphic(self) -> None:
        self.canvas.ellipse(0, 3.2, 0.75, 0.62, self.accent)
        self.canvas.polygon([(-0.5, 3.35), (0, 2.75), (0.5, 3.35)], shade(self.colour, 0.6))

    def _sweater(self) -> None:
        for y, factor in ((2.9, 0.85), (3.3, 1.4), (3.7, 0.85)):
            self.canvas.line([(-1.2, y), (1.2, y)], shade(self.colour, factor), 0.2)

    def _polo(self) -> None:
        self._neckline(self.skin, 0.5, 2.3)
        collar = [(0.1, 1.9), (0.65, 1.3), (0.85, 1.8), (0.3, 2.3)]
        self.canvas.polygon(collar, shade(self.colour, 1.3), mirrored=True)

    def _hoodie(self) -> None:
        canvas, colour = self.canvas, self.colour
        self._neckline(self.skin, 0.5, 1.8)
        canvas.line([(-0.7, 1.2), (-0.85, 1.8), (0, 2.35), (0.85, 1.8), (0.7, 1.2)], shade(colour, 0.75), 0.42)
        canvas.line([(0.3, 2.4), (0.3, 3.3)], "#f4f4f4", 0.1, mirrored=True)
        canvas.polygon([(-0.95, 4.4), (0.95, 4.4), (1.15, 5.4), (-1.15, 5.4)], shade(colour, 0.85))
        if self.look.print_on_hoodie:
            canvas.polygon([(-0.7, 3.4), (0.7, 3.4), (0.7, 3.85), (-0.7, 3.85)], self.accent)

    def _puffer(self) -> None:
        half = self.shoulder - 0.35
        for y in (2.4, 3.1, 3.8, 4.5, 5.2):
            self.canvas.line([(-half, y), (half, y)], shade(self.colour, 0.72), 0.1)
        self.canvas.line([(0, 1.6), (0, 5.7)], self.accent, 0.14)
        self._neckline(shade(self.colour, 0.8), 0.7, 1.5)

    def _track(self) -> None:
        canvas = self.canvas
        self._neckline(self.skin, 0.4, 1.7)
        canvas.line([(0, 1.8), (0, 5.7)], "#f0f0f0", 0.13)
        canvas.line([(self.shoulder - 0.35, 1.75), (0.55, 1.5)], self.accent, 0.16, mirrored=True)
        collar = [(0.15, 1.75), (0.6, 1.25), (0.75, 1.6), (0.3, 2.1)]
        canvas.polygon(collar, shade(self.colour, 0.75), mirrored=True)

    def _tank(self) -> None:
        shoulder, waist = self.shoulder, self.waist
        bare = [(0.8, 1.5), (shoulder + 0.05, 1.9), (shoulder - 0.1, 2.9), (1.0, 2.6)]
        self.canvas.polygon(bare, self.skin, mirrored=True)
        self._neckline(self.skin, 0.75, 2.5)
        self.canvas.polygon([(-waist, 4.1), (waist, 4.1), (waist, 4.5), (-waist, 4.5)], self.accent)

    def _turtle(self) -> None:
        self.canvas.polygon([(-0.55, 1.0), (0.55, 1.0), (0.65, 1.6), (-0.65, 1.6)], shade(self.colour, 0.88))
        self.canvas.line([(-0.5, 1.25), (0.5, 1.25)], shade(self.colour, 0.75), 0.06)

    def _jacket(self) -> None:
        canvas, look, colour, waist = self.canvas, self.look, self.colour, self.waist
        canvas.polygon([(-0.5, 1.35), (0.5, 1.35), (0.42, 4.2), (-0.42, 4.2)], look.inner_colour)
        if look.top == "suit":
            self._neckline(self.skin, 0.42, 1.7)
            canvas.polygon([(0.02, 1.85), (0.45, 1.35), (0.62, 1.75), (0.25, 2.25)], "#ffffff", mirrored=True)
            if look.tie:
                canvas.polygon([(-0.13, 1.9), (0.13, 1.9), (0.24, 3.6), (0, 4.0), (-0.24, 3.6)], self.accent)
        else:
            self._neckline(look.inner_colour if look.inner_turtleneck else self.skin, 0.45, 1.95)
        lapel = [(0.5, 1.4), (0.98, 1.6), (1.05, 2.6), (0.36, 4.2), (0.28, 3.2)]
        canvas.polygon(lapel, shade(colour, 0.78), mirrored=True)
        canvas.line([(0.15, 4.2), (0.2, 5.7)], shade(colour, 0.7), 0.06)
        if look.top == "trench":
            half = waist + 0.05
            canvas.polygon([(-half, 4.4), (half, 4.4), (half, 4.8), (-half, 4.8)], shade(colour, 0.65))
        elif look.top == "suit":
            canvas.polygon([(0.95, 2.7), (1.35, 2.62), (1.2, 2.85)], "#f4f4f4")

    def _dress(self) -> None:
        self._neckline(self.skin, 0.75, 2.6)

    def _strapdress(self) -> None:
        right = [(1.2, 2.3), (self.waist, 4.4), (self.waist + 0.2, HEM_Y)]
        self.canvas.smooth([(-1.2, 2.3), (0, 2.6), *right, *((-x, y) for x, y in reversed(right[1:]))], self.colour)
        self.canvas.line([(0.8, 1.7), (0.95, 2.5)], self.colour, 0.13, mirrored=True)

    def _skirts(self) -> None:
        canvas, look, colour, waist = self.canvas, self.look, self.colour, self.waist
        if look.bottom == "dress":
            canvas.polygon([(-waist, 4.4), (waist, 4.4), (1.9, 8.9), (-1.9, 8.9)], colour)
            canvas.line([(-waist, 4.45), (waist, 4.45)], shade(colour, 0.7), 0.15)
        elif look.bottom == "skirt":
            canvas.polygon([(-waist, 5.3), (waist, 5.3), (1.55, 8.2), (-1.55, 8.2)], look.bottom_colour)
        if look.top == "trench":
            canvas.polygon([(0.1, 5.6), (waist + 0.1, 5.6), (1.65, 8.8), (0.25, 8.8)], colour, mirrored=True)

    def _jewellery(self) -> None:
        canvas, look = self.canvas, self.look
        if look.chain:
            canvas.line([(-0.55, 1.6), (0, 2.75), (0.55, 1.6)], "#e0c04a", 0.11)
        if look.pearls:
            for position in np.linspace(-1, 1, 9):
                canvas.ellipse(0.58 * position, 1.5 + 0.5 * (1 - position**2), 0.085, 0.085, "#fbf6ea")
        if look.bag:
            canvas.line([(-1.3, 1.8), (1.3, 5.2)], shade(self.accent, 0.7), 0.1)
            canvas.polygon([(1.0, 5.2), (2.0, 5.1), (2.05, 6.1), (1.0, 6.15)], shade(self.accent, 0.8))


def draw_bottom(canvas: Canvas, look: Look) -> None:
    """Draw legs, trousers and shoes. Skirts cover the legs and are drawn with the torso."""
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


def draw_hair_behind(canvas: Canvas, look: Look) -> None:
    """Draw the hair behind neck and shoulders; call it before drawing the torso."""
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
