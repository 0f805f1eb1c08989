"""Draws a look as a photo: background, figure, light and camera."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from style_match.synthetic.canvas import Canvas
from style_match.synthetic.garments import Torso, draw_bottom, draw_hair_behind, draw_head
from style_match.synthetic.world import SHOT_TYPES, VISUAL_QUALITIES, Colour, Look, hsv, rgb, shade

SUPERSAMPLE = 2
JPEG_QUALITY = 92
SENSOR_NOISE = 1.5
# Medium and low quality: resolution as a fraction, standard deviation of the noise in grey levels, JPEG quality.
DEGRADATION = {"Medium": (0.42, 5.0, 55), "Low": (0.2, 14.0, 18)}
MIN_DEGRADED_PX = 24
MIRROR_MARGIN, MIRROR_FRAME = 0.035, 0.035


def render(look: Look, size_px: int) -> Image.Image:
    """Draw a look as an RGB picture; equal arguments give equal pixels.

    Args:
        look: The look.
        size_px: Width and height in pixels.

    Raises:
        ValueError: Unknown shot type or visual quality.
    """
    if look.shot_type not in SHOT_TYPES or look.visual_quality not in VISUAL_QUALITIES:
        raise ValueError(f"unknown shot type {look.shot_type!r} or visual quality {look.visual_quality!r}")
    rng = np.random.default_rng(look.texture_seed)
    canvas = Canvas(size_px=size_px, supersample=SUPERSAMPLE)
    draw_scene(canvas, look, rng)
    arms = _frame(canvas, look)
    draw_hair_behind(canvas, look)
    if look.shot_type != "Selfie_CloseUp":
        draw_bottom(canvas, look)
    Torso(canvas=canvas, look=look).draw(arms)
    draw_head(canvas, look)
    if look.shot_type == "Mirrored_Selfie":
        canvas.polygon([(0.55, 1.35), (1.35, 1.35), (1.35, 2.75), (0.55, 2.75)], "#1c1c20")
        canvas.ellipse(0.78, 1.6, 0.11, 0.11, "#55606c")
    image = canvas.finish()
    if look.flipped:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return _expose(image, look, rng)


def encode_jpeg(image: Image.Image) -> bytes:
    """Return the JPEG file of a photo. Chroma is not subsampled, since garments are small and differ by colour."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


class Backdrop:
    """Draws rectangles and discs, in fractions of the picture.

    Attributes:
        rng: Random numbers of the scene.
        light: 0 (dim) to 1 (bright).
    """

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
    """Fill the canvas with a wall and the scene of the look, blurred as the look has it."""
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


def _frame(canvas: Canvas, look: Look) -> str:
    """Place the figure for the shot type and return the pose of the arms."""
    x, y, zoom, rotation = look.jitter_x, look.jitter_y, look.jitter_scale, look.rotation
    if look.shot_type == "Selfie_CloseUp":
        canvas.place(
            centre_x=0.5 + 0.12 * x, centre_y=0.44 + 0.06 * y, scale=0.185 * (1 + 0.18 * zoom), rotation=rotation
        )
        return "selfie" if look.pose > 0.3 else "down"
    if look.shot_type == "Mirrored_Selfie":
        _mirror(canvas, look)
        canvas.place(
            centre_x=0.5 + 0.1 * x, centre_y=0.24 + 0.04 * y, scale=0.098 * (1 + 0.12 * zoom), rotation=0.4 * rotation
        )
        return "phone"
    canvas.place(
        centre_x=0.5 + 0.14 * x, centre_y=0.17 + 0.03 * y, scale=0.083 * (1 + 0.1 * zoom), rotation=0.3 * rotation
    )
    return "hip" if look.pose > 0.5 else "down"


def _mirror(canvas: Canvas, look: Look) -> None:
    width = canvas.width
    box = [MIRROR_MARGIN * width, 0, width - MIRROR_MARGIN * width, width]
    canvas.pen.rectangle(box, outline=hsv(look.background_hue + 0.5, 0.3, 0.4), width=int(MIRROR_FRAME * width))


def _expose(image: Image.Image, look: Look, rng: np.random.Generator) -> Image.Image:
    """Apply light, white balance and the defects of the camera."""
    gains = (0.85 + 0.25 * look.light) * np.array([1 + 0.06 * look.warmth, 1, 1 - 0.06 * look.warmth])
    pixels = np.asarray(image, float) * gains
    if look.visual_quality not in DEGRADATION:
        return _to_image(pixels + rng.normal(0, SENSOR_NOISE, pixels.shape))
    resolution, grain, jpeg_quality = DEGRADATION[look.visual_quality]
    full = image.size
    small = max(MIN_DEGRADED_PX, int(full[0] * resolution * (1 + 0.1 * look.jitter_scale)))
    image = _to_image(pixels).resize((small, small), Image.Resampling.BILINEAR)
    pixels = np.asarray(image.resize(full, Image.Resampling.BILINEAR), float)
    buffer = io.BytesIO()
    _to_image(pixels + rng.normal(0, grain, pixels.shape)).save(buffer, "JPEG", quality=jpeg_quality)
    return Image.open(buffer).convert("RGB")


def _to_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype("uint8"))
