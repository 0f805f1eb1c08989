"""A photo as it leaves the machine: small, upright, pixels only."""

import io
from dataclasses import asdict, dataclass
from pathlib import Path

from style_match.data.image import DECODE_POLICY, decode


@dataclass(frozen=True)
class Encoding:
    """Options of `labeler`; all of them are part of a request's key.

    Attributes:
        max_side_px: of the longer side of what is sent.
        jpeg_quality: 1 to 95.
        max_source_pixels: of the photo's file.
    """

    max_side_px: int
    jpeg_quality: int
    max_source_pixels: int

    def identity(self, policy: str = DECODE_POLICY) -> dict[str, object]:
        """What changes the bytes; `policy` is that of the photo (`PhotoFacts.decode_policy`)."""
        options = asdict(self)
        del options["max_source_pixels"]  # it decides whether a photo is read, not what is sent
        return {**options, "decode": policy}


def encode(source: Path | bytes, encoding: Encoding) -> bytes:
    """A JPEG of the photo's pixels alone: in sRGB, with no EXIF, place, comment, thumbnail or name.

    The same photo gives the same bytes. Raises UserError (BadImage) as `decode` does.
    """
    from PIL import Image

    image = decode(source, max_source_pixels=encoding.max_source_pixels)
    if max(image.size) > encoding.max_side_px:
        image.thumbnail((encoding.max_side_px, encoding.max_side_px), Image.Resampling.LANCZOS)
    pixels = Image.frombytes("RGB", image.size, image.tobytes())  # a new image: none of the file's own words come along
    content = io.BytesIO()
    pixels.save(content, format="JPEG", quality=encoding.jpeg_quality)
    return content.getvalue()
