"""One photo file to one upright 8-bit RGB image, or a plain word on what is wrong with it."""

import functools
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from style_match.data.colour import Colour, applied, colour_of
from style_match.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

# Part of every feature's address: change it whenever `decode` gives other pixels for the same bytes. The second is of
# photos whose embedded colour profile is applied.
DECODE_POLICY = "rgb8; first frame; exif upright; alpha over white; gray16/257; adobe cmyk; no colour profile; v1"
COLOUR_POLICY = DECODE_POLICY.replace("no colour profile", "colour profile to srgb by relative colorimetry")

# Only these are tried: Pillow knows dozens more, some of which start other programs (EPS) or are guesses at raw bytes.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_KNOWN_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF")
_MAX_SIDE_RATIO = 200  # transformers' smart_resize, through which every Qwen3-VL image goes, refuses more
_pillow_bound = threading.Lock()


class BadImage(UserError):
    """The file itself is at fault, whoever reads it. `fault` is the message without the file's name.

    `depends_on_bound`: another `max_source_pixels` may give another verdict.
    """

    def __init__(self, name: str, fault: str, *, depends_on_bound: bool = False) -> None:
        super().__init__(f"{name}: {fault}")
        self.fault, self.depends_on_bound = fault, depends_on_bound


def decode(source: str | Path | bytes, *, max_source_pixels: int, side_px: int | None = None) -> "Image":
    """An upright 8-bit RGB image (H x W) from a file or from the bytes of one.

    EXIF orientation is applied (an unreadable EXIF block states none), an animation gives its first frame, what is
    transparent shows white, 16-bit gray is scaled to 8 bits, CMYK is read with Adobe's polarity, an embedded colour
    profile is converted to sRGB (`style_match.data.colour`). The header's size is compared with `max_source_pixels`
    before pixels are allocated.

    Args:
        source: the file, or its bytes.
        max_source_pixels: most pixels of the stored image.
        side_px: a JPEG may be decoded smaller, as long as no side is shorter; for thumbnails, not for features.

    Raises:
        BadImage: not an image, damaged, cut off, too many pixels, or longer than 200 times its width.
        UserError: the file cannot be read, memory runs out, or HEIC without the extra.
    """
    if isinstance(source, bytes):
        name = "image bytes"
        return _decoded(lambda: open_stream(io.BytesIO(source), name), name, max_source_pixels, side_px)
    try:
        with open(source, "rb") as stream:
            return _decoded(lambda: open_stream(stream, str(source)), str(source), max_source_pixels, side_px)
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror})") from error


def decode_stream(stream: BinaryIO, name: str, *, max_source_pixels: int | None) -> "Image":
    """`decode` for an open file that is called `name` in messages; no bound on pixels when None."""
    return _decoded(lambda: open_stream(stream, name), name, max_source_pixels)


def decode_opened(image: "Image", name: str, *, max_source_pixels: int) -> "Image":
    """`decode` for an image that Pillow opened or made, called `name` in messages."""
    return _decoded(lambda: image, name, max_source_pixels)


def _decoded(
    opened: Callable[[], "Image"], name: str, max_source_pixels: int | None, side_px: int | None = None
) -> "Image":
    try:
        image = opened()
        width, height = image.size
        if max_source_pixels is not None and width * height > max_source_pixels:
            raise BadImage(name, too_many_pixels(width, height, max_source_pixels), depends_on_bound=True)
        if max(width, height) > _MAX_SIDE_RATIO * min(width, height):
            raise BadImage(name, f"{width} x {height} pixels: one side is over {_MAX_SIDE_RATIO} times the other")
        colour = colour_of(image)
        if side_px is not None:
            image.draft(None, (side_px, side_px))
        image.load()
        return _upright(image, _rgb(image, colour, name))
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{name}: memory ran out while decoding; lower data.max_source_pixels") from error
    except OSError as error:
        if error.errno is not None:  # the disk's fault; Pillow's own complaints carry no number
            raise UserError(f"{name}: cannot be read ({error.strerror})") from error
        raise BadImage(name, f"is damaged or cut off ({error})") from error
    except Exception as error:  # damaged bytes reach deep into Pillow's readers, which raise whatever they meet
        raise BadImage(name, f"is damaged ({type(error).__name__}: {error})") from error


def too_many_pixels(width: int, height: int, bound: int) -> str:
    return f"{width} x {height} = {width * height} pixels, more than data.max_source_pixels={bound}"


def open_stream(stream: BinaryIO, name: str) -> "Image":
    """An image file as Pillow opens it: the header is read, no pixels yet. Raises BadImage."""
    from PIL import Image, UnidentifiedImageError

    start = stream.read(16)
    stream.seek(0)
    try:
        # Our own bound replaces Pillow's, which warns on stderr and hides the size; its check is off for the header.
        with _pillow_bound:
            bound, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                return Image.open(stream, formats=_FORMATS)
            finally:
                Image.MAX_IMAGE_PIXELS = bound
    except UnidentifiedImageError:
        if start[4:8] == b"ftyp" and start[8:12] in _HEIC_BRANDS:
            return _open_heic(stream, name)
        if not start:
            fault = "is empty"
        elif start.startswith(_KNOWN_STARTS):
            fault = "is damaged or cut off (its header cannot be read)"
        else:
            fault = f"is not an image in a format read here ({', '.join(_FORMATS)}, HEIC); it begins with {start!r}"
        raise BadImage(name, fault) from None


def _open_heic(stream: BinaryIO, name: str) -> "Image":
    from PIL import Image

    if not _heic_is_registered():
        raise UserError(f"{name}: is HEIC; install its reader with pip install 'style_match[heic]' or save it as JPEG")
    stream.seek(0)
    return Image.open(stream, formats=["HEIF"])


@functools.cache
def _heic_is_registered() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _rgb(image: "Image", colour: Colour, name: str) -> "Image":
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        image = _gray16(image)
    if image.mode in ("I", "F"):
        raise BadImage(name, f"has 32-bit samples (mode {image.mode}), not a photo's; save it with 8 or 16 bits")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        alpha = over.getchannel("A")
        over = applied(colour, image.convert("LA").getchannel("L") if colour.mode == "L" else over)
        over.putalpha(alpha)
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return applied(colour, image)


def _gray16(image: "Image") -> "Image":
    """16-bit gray to 8 bits, rounded; with an alpha channel where the file names one gray as transparent."""
    import numpy
    from PIL import Image

    gray = numpy.asarray(image).astype(numpy.uint32)  # (H, W), 0 to 65535
    scaled = Image.fromarray(((gray + 128) // 257).astype(numpy.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        scaled.putalpha(Image.fromarray(numpy.where(gray == transparent, 0, 255).astype(numpy.uint8)))
    return scaled


def _upright(source: "Image", image: "Image") -> "Image":
    """`image` turned as the EXIF (or XMP) orientation of `source` says; table of the EXIF 2.3 standard, tag 274."""
    from PIL.ExifTags import Base
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    try:
        orientation = source.getexif().get(Base.Orientation, 1)
    except Exception:  # viewers show a photo with a broken EXIF block as it is stored, and so do we
        return image
    turn = turns.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)
