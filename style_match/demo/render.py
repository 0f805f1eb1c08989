"""From a look to a photo."""

import io

import numpy as np
from PIL import Image

from .bottoms import draw_bottom
from .canvas import Canvas
from .head import draw_hair_behind, draw_head
from .look import SHOT_TYPES, VISUAL_QUALITIES, Look
from .palette import hsv
from .scene import draw_scene
from .tops import Torso

SUPERSAMPLE = 2
JPEG_QUALITY = 92
SENSOR_NOISE = 1.5
# A medium or low quality photo: its resolution as a fraction, the grain's deviation in grey levels, JPEG quality.
DEGRADATION = {"Medium": (0.42, 5.0, 55), "Low": (0.2, 14.0, 18)}
MIN_DEGRADED_PX = 24
MIRROR_MARGIN, MIRROR_FRAME = 0.035, 0.035


def render(look: Look, size_px: int) -> Image.Image:
    """Draw `look` as an RGB picture of `size_px` squared. Equal arguments give equal pixels.

    Raises ValueError for an unknown shot type or visual quality.
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
    """The bytes of the photo's file. Full chroma resolution: garments are small and told apart by colour."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return buffer.getvalue()


def _frame(canvas: Canvas, look: Look) -> str:
    """Place the figure as the shot type asks; returns the pose of the arms."""
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
    """Apply light, white balance and what a worse camera does."""
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
