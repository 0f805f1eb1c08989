"""Canvas in figure units: the head is at (0, 0) with a radius of 1, y points down, the feet are at 12."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from style_match.synthetic.world import Colour, rgb

Point = tuple[float, float]

UNIT_CIRCLE = [(math.cos(angle), math.sin(angle)) for angle in np.linspace(0, 2 * math.pi, 28)]
SPLINE_STEPS = 8


class Canvas:
    """Square RGB picture, drawn larger by the factor `supersample` and reduced at the end.

    The methods take figure units, which `place` maps to pixels; `image` and `pen` take pixels.
    """

    def __init__(self, *, size_px: int, supersample: int) -> None:
        self.width = size_px * supersample
        self.supersample = supersample
        self.image = Image.new("RGB", (self.width, self.width))
        self.pen = ImageDraw.Draw(self.image)
        self.place(centre_x=0.5, centre_y=0.4, scale=0.1)

    def place(self, *, centre_x: float, centre_y: float, scale: float, rotation: float = 0.0) -> None:
        """Set position and size of the figure.

        Args:
            centre_x: Horizontal position of the head, as a fraction of the width of the picture.
            centre_y: Vertical position of the head, as a fraction of the same.
            scale: Length of a figure unit, as a fraction of the same.
            rotation: Rotation of the figure in radians.
        """
        self.origin = (centre_x * self.width, centre_y * self.width)
        self.unit = scale * self.width
        self.cos, self.sin = math.cos(rotation), math.sin(rotation)

    def to_pixels(self, point: Point) -> Point:
        x, y = point
        return (
            self.origin[0] + self.unit * (x * self.cos - y * self.sin),
            self.origin[1] + self.unit * (x * self.sin + y * self.cos),
        )

    def polygon(self, points: Sequence[Point], colour: Colour, *, mirrored: bool = False) -> None:
        """Fill a polygon and, if `mirrored`, its mirror image on the other side of the figure."""
        self.pen.polygon([self.to_pixels(point) for point in points], fill=rgb(colour))
        if mirrored:
            self.pen.polygon([self.to_pixels((-x, y)) for x, y in points], fill=rgb(colour))

    def smooth(self, points: Sequence[Point], colour: Colour, *, mirrored: bool = False) -> None:
        """Fill a closed Catmull-Rom curve through `points`."""
        knots = np.asarray(points, float)
        u = np.linspace(0, 1, SPLINE_STEPS, endpoint=False)[None, :, None]
        before, start, end, after = (np.roll(knots, shift, 0)[:, None, :] for shift in (1, 0, -1, -2))
        curve = 0.5 * (
            2 * start
            + (end - before) * u
            + (2 * before - 5 * start + 4 * end - after) * u**2
            + (3 * start - before - 3 * end + after) * u**3
        )
        self.polygon(curve.reshape(-1, 2).tolist(), colour, mirrored=mirrored)

    def ellipse(
        self, x: float, y: float, radius_x: float, radius_y: float, colour: Colour, *, mirrored: bool = False
    ) -> None:
        for centre in (x, -x) if mirrored else (x,):
            self.polygon([(centre + radius_x * cx, y + radius_y * cy) for cx, cy in UNIT_CIRCLE], colour)

    def ring(self, x: float, y: float, radius_x: float, radius_y: float, colour: Colour, width: float) -> None:
        """Draw the outline of an ellipse. It does not rotate with the figure, which is invisible for small angles."""
        corners = [self.to_pixels((x - radius_x, y - radius_y)), self.to_pixels((x + radius_x, y + radius_y))]
        (left, right), (top, bottom) = (sorted(axis) for axis in zip(*corners, strict=True))
        self.pen.ellipse([left, top, right, bottom], outline=rgb(colour), width=max(1, int(width * self.unit)))

    def line(self, points: Sequence[Point], colour: Colour, width: float, *, mirrored: bool = False) -> None:
        """Draw a line with round ends; `width` is in figure units, at least one pixel is drawn."""
        for side in (1, -1) if mirrored else (1,):
            path = [self.to_pixels((side * x, y)) for x, y in points]
            width_px = max(1, int(width * self.unit))
            self.pen.line(path, fill=rgb(colour), width=width_px, joint="curve")
            for x, y in (path[0], path[-1]):
                radius = width_px / 2
                self.pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=rgb(colour))

    def blur(self, radius: float) -> None:
        """Blur the picture; `radius` is a fraction of the width."""
        # At half resolution this is four times faster and looks the same.
        small = self.image.reduce(2).filter(ImageFilter.GaussianBlur(radius * self.width / 2))
        self.image = small.resize((self.width, self.width), Image.Resampling.BILINEAR)
        self.pen = ImageDraw.Draw(self.image)

    def finish(self) -> Image.Image:
        """Return the picture in its final size."""
        return self.image.reduce(self.supersample) if self.supersample > 1 else self.image
