"""Torso, arms, upper garments, the skirts that hang from them, and what is worn on them."""

import numpy as np

from .canvas import Canvas, Point
from .look import Look
from .palette import SKIN_TONES, Colour, shade

HEM_Y = 5.8
JACKETS = ("trench", "blazer", "suit")


class Torso:
    """The measures of one figure, and its garments in the order in which they cover each other."""

    def __init__(self, *, canvas: Canvas, look: Look) -> None:
        self.canvas, self.look = canvas, look
        self.skin, self.colour, self.accent = SKIN_TONES[look.skin], look.top_colour, look.accent
        self.shoulder, self.waist = (1.75, 1.1) if look.gender == "f" else (2.1, 1.35)

    def draw(self, arms: str) -> None:
        """`arms`: down, hip (one on the hip), phone (one hand before the chest) or selfie (one arm to the camera)."""
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
