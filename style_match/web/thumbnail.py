"""Photos as the page shows them."""

import io
from pathlib import Path

from style_match.data.image import decode

QUALITY = 85  # of JPEG, of 100


def thumbnail(file: str | Path, side_px: int, *, max_source_pixels: int) -> bytes:
    """A photo as JPEG of at most `side_px` a side: nothing of the file but its pixels, no EXIF, XMP or comment.

    Raises:
        UserError: the file is no photo any more, or cannot be read.
    """
    from PIL import Image, ImageOps

    small = ImageOps.contain(decode(file, max_source_pixels=max_source_pixels), (side_px, side_px))
    pixels = Image.frombytes("RGB", small.size, small.tobytes())  # Pillow would write the comment of a JPEG again
    content = io.BytesIO()
    pixels.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()
