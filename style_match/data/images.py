"""Decode one photo file to an upright 8-bit RGB image in sRGB, or say what is wrong with it."""

import base64
import functools
import io
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from style_match.utils.errors import UserError
from style_match.utils.text import cut

# Colour space of a profile -> the mode in which Pillow converts its pixels, and the modes of photos that it fits.
_SPACES = {
    "RGB": ("RGB", ("RGB", "RGBA", "RGBX", "P", "PA")),
    "GRAY": ("L", ("L", "LA", "1", "I", "I;16", "I;16L", "I;16B", "I;16N")),
    "CMYK": ("CMYK", ("CMYK",)),
}
_NEAR = 2  # of 255: a profile that changes no colour by more counts as sRGB


@dataclass(frozen=True)
class Colour:
    """How to convert the colours of a photo to sRGB.

    Attributes:
        mode: of the pixels that `transform` takes.
        transform: to RGB in sRGB; None if the pixels are taken as they are.
        fault: the reason why an embedded profile is ignored; "" if there is no profile or if it is applied.
    """

    mode: str = ""
    transform: Any = None
    fault: str = ""

    def apply(self, image: Image.Image) -> Image.Image:
        """The pixels of an image (any mode) as RGB, converted if there is a transform."""
        if self.transform is None:
            return image.convert("RGB")
        found = ImageCms.applyTransform(image.convert(self.mode), self.transform)
        assert found is not None  # only an image changed in place gives None
        return found


def colour_of(image: Image.Image) -> Colour:
    """The conversion that the embedded profile (ICC) of an image asks for; the pixels need not be read yet.

    A profile that cannot be read or does not fit the photo's mode is ignored, as viewers do.
    """
    profile = image.info.get("icc_profile")
    return _colour(profile, image.mode) if isinstance(profile, bytes) and profile else Colour()


def colour_fault_note(names: list[str]) -> str:
    """The note on photos whose colour profile is ignored; "" if there are none."""
    if not names:
        return ""
    photos, listed = "1 photo has" if len(names) == 1 else f"{len(names)} photos have", cut(", ".join(names), 400)
    return f"{photos} an embedded colour profile that cannot be used, and the pixels are taken as sRGB: {listed}"


@functools.lru_cache(maxsize=64)
def _colour(profile: bytes, mode: str) -> Colour:
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = opened.profile.xcolor_space.strip()
        taken, fitting = _SPACES.get(space, ("", ()))
        if mode not in fitting:
            return Colour(fault=f"a profile of {space} colours does not fit pixels of {mode}")
        transform = ImageCms.buildTransform(
            opened,
            ImageCms.createProfile("sRGB"),
            taken,
            "RGB",
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,  # the latter: several threads use it
        )
    except ImportError as error:
        raise UserError(f"Pillow was built without LittleCMS, which colour profiles need ({error})") from error
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError) as error:
        return Colour(fault=f"cannot be read ({error})")
    if taken != "CMYK":
        steps = np.arange(0, 256, 15, dtype=np.uint8)
        grid = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)  # 1, 18^3, 3
        colours = Image.fromarray(grid if taken == "RGB" else np.ascontiguousarray(grid[..., 0]))
        before = np.asarray(colours.convert("RGB"), dtype=int)
        after = np.asarray(ImageCms.applyTransform(colours, transform), dtype=int)
        if abs(after - before).max() <= _NEAR:
            return Colour()
    return Colour(taken, transform)


# Part of every feature's address: change it whenever `decode` gives other pixels for the same bytes. The second is for
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
    """The content of the file is bad. `fault` is the message without the file's name.

    `depends_on_bound`: another `max_source_pixels` may give another result.
    """

    def __init__(self, name: str, fault: str, *, depends_on_bound: bool = False) -> None:
        super().__init__(f"{name}: {fault}")
        self.fault, self.depends_on_bound = fault, depends_on_bound


def decode(source: str | Path | bytes, *, max_source_pixels: int, side_px: int | None = None) -> Image.Image:
    """An upright 8-bit RGB image (H x W) from a file or from the bytes of one.

    EXIF orientation is applied (an unreadable EXIF block is ignored), an animation gives its first frame, transparent
    pixels become white, 16-bit gray is scaled to 8 bits, CMYK has Adobe's polarity, an embedded colour profile is
    converted to sRGB. The size in the header is compared with `max_source_pixels` before pixels are allocated.

    Args:
        source: the file, or its bytes.
        max_source_pixels: upper bound on the pixels of the stored image.
        side_px: a JPEG may be decoded smaller, but no side shorter; for thumbnails, not for features.

    Raises:
        BadImage: not an image, damaged, cut off, too many pixels, or longer than 200 times its width.
        UserError: the file cannot be read, memory runs out, or HEIC without the extra.
    """
    if isinstance(source, bytes):
        return decode_stream(io.BytesIO(source), "image bytes", max_source_pixels=max_source_pixels, side_px=side_px)
    try:
        with open(source, "rb") as stream:
            return decode_stream(stream, str(source), max_source_pixels=max_source_pixels, side_px=side_px)
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror})") from error


def decode_stream(
    source: BinaryIO | Image.Image, name: str, *, max_source_pixels: int | None, side_px: int | None = None
) -> Image.Image:
    """`decode` for an open file or a Pillow image; `name` is for messages. No bound on pixels when None."""
    try:
        image = source if isinstance(source, Image.Image) else open_stream(source, name)
        width, height = image.size
        if max_source_pixels is not None and width * height > max_source_pixels:
            raise BadImage(name, too_many_pixels(width, height, max_source_pixels), depends_on_bound=True)
        if max(width, height) > _MAX_SIDE_RATIO * min(width, height):
            raise BadImage(name, f"{width} x {height} pixels: one side is over {_MAX_SIDE_RATIO} times the other")
        colour = colour_of(image)
        if side_px is not None:
            image.draft(None, (side_px, side_px))
        image.load()
        return _rgb(_upright(image), image.format, colour, name)
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{name}: memory ran out while decoding; lower data.max_source_pixels") from error
    except OSError as error:
        if error.errno is not None:  # from the operating system; Pillow's own errors have no number
            raise UserError(f"{name}: cannot be read ({error.strerror})") from error
        raise BadImage(name, f"is damaged or cut off ({error})") from error
    except Exception as error:  # damaged bytes make Pillow's readers raise anything
        raise BadImage(name, f"is damaged ({type(error).__name__}: {error})") from error


def too_many_pixels(width: int, height: int, bound: int) -> str:
    return f"{width} x {height} = {width * height} pixels, more than data.max_source_pixels={bound}"


def open_stream(stream: BinaryIO, name: str) -> Image.Image:
    """Open an image file: the header is read, no pixels yet. Raises BadImage."""
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


def _open_heic(stream: BinaryIO, name: str) -> Image.Image:
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


def _rgb(image: Image.Image, kind: str | None, colour: Colour, name: str) -> Image.Image:
    """`kind` is the file format."""
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        image = _gray16(image)
    if image.mode in ("I", "F"):
        raise BadImage(name, f"has 32-bit samples (mode {image.mode}), not a photo's; save it with 8 or 16 bits")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        alpha = over.getchannel("A")
        over = colour.apply(image.convert("LA").getchannel("L") if colour.mode == "L" else over)
        over.putalpha(alpha)
        return Image.alpha_composite(Image.new("RGBA", over.size, "white"), over).convert("RGB")
    return colour.apply(image)


def _gray16(image: Image.Image) -> Image.Image:
    """16-bit gray to 8 bits, rounded; with an alpha channel if the file names a transparent gray."""
    gray = np.asarray(image).astype(np.uint32)  # (H, W), 0 to 65535
    scaled = Image.fromarray(((gray + 128) // 257).astype(np.uint8))
    if (transparent := image.info.get("transparency")) is not None:
        scaled.putalpha(Image.fromarray(np.where(gray == transparent, 0, 255).astype(np.uint8)))
    return scaled


def _upright(image: Image.Image) -> Image.Image:
    """`image` turned by its EXIF (or XMP) orientation."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # viewers also ignore a broken EXIF block
        return image


QUALITY = 85  # of JPEG, of 100


def thumbnail(photo: str | Path | bytes, side_px: int, *, max_source_pixels: int) -> bytes:
    """A photo file, or the bytes of one, as a JPEG of at most `side_px` per side, without EXIF, XMP or comment.

    Raises:
        UserError: not a photo, or it cannot be read.
    """
    small = ImageOps.contain(decode(photo, max_source_pixels=max_source_pixels, side_px=side_px), (side_px, side_px))
    pixels = Image.frombytes("RGB", small.size, small.tobytes())  # Pillow would write the comment of a JPEG again
    content = io.BytesIO()
    pixels.save(content, "JPEG", quality=QUALITY)
    return content.getvalue()


def as_uri(jpeg: bytes) -> str:
    """A JPEG as a data URI for a page of one file."""
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
