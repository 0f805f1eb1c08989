"""Photos as pages show them: small, with nothing of their files but the pixels."""

import base64
import io
from pathlib import Path

from style_match.data.image import decode

QUALITY = 85  # of JPEG, of 100


def thumbnail(photo: str | Path | bytes, side_px: int, *, max_source_pixels: int) -> bytes:
    """A photo's file, or the bytes of one, as JPEG of at most `side_px` a side: no EXIF, XMP or comment.

    Raises:
        UserError: it is no photo, or cannot be read.
    """
    from PIL import Image, ImageOps

    small = ImageOps.contain(decode(photo, max_source_pixels=max_source_pixels, side_px=side_px), (side_px, side_px))
    pixels = Image.frombytes("RGB", small.size, small.tobytes())  # Pillow would write the comment of a JPEG again
    content = io.BytesIO()
    pixels.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def as_uri(jpeg: bytes) -> str:
    """A JPEG as it stands in a page of one file."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
