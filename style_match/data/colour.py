"""Embedded colour profiles (ICC): the pixels of a photo in sRGB, as a viewer shows them."""

import functools
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from style_match.errors import UserError
from style_match.spelling import cut

if TYPE_CHECKING:
    from PIL.Image import Image

# Colour space of a profile -> the mode in which Pillow converts its pixels, and the modes of photos that it fits.
_SPACES = {
    "RGB": ("RGB", ("RGB", "RGBA", "RGBX", "P", "PA")),
    "GRAY": ("L", ("L", "LA", "1", "I", "I;16", "I;16L", "I;16B", "I;16N")),
    "CMYK": ("CMYK", ("CMYK",)),
}
_NEAR = 2  # of 255: a profile that changes no colour by more counts as sRGB


@dataclass(frozen=True)
class Colour:
    """What is to be done with the colours of a photo.

    Attributes:
        mode: of the pixels that `transform` takes.
        transform: to RGB in sRGB; None where the pixels are taken as they are.
        fault: the reason why an embedded profile is ignored; "" if there is no profile or if it is applied.
    """

    mode: str = ""
    transform: Any = None
    fault: str = ""


def colour_of(image: "Image") -> Colour:
    """What the embedded profile of an image asks for; its pixels need not be read yet.

    A profile that cannot be read, or is of another kind of picture than the photo, is passed over, as viewers do.
    """
    profile = image.info.get("icc_profile")
    return _colour(profile, image.mode) if isinstance(profile, bytes) and profile else Colour()


def applied(colour: Colour, image: "Image") -> "Image":
    """The pixels of an image (any mode) as RGB, converted where there is a transform."""
    if colour.transform is None:
        return image.convert("RGB")
    from PIL import ImageCms

    found = ImageCms.applyTransform(image.convert(colour.mode), colour.transform)
    assert found is not None  # only an image changed in place gives None
    return found


def said_faults(names: list[str]) -> str:
    """The sentence about photos whose profile is passed over; "" where there are none."""
    if not names:
        return ""
    photos = "1 photo has" if len(names) == 1 else f"{len(names)} photos have"
    return f"{photos} an embedded colour profile that cannot be used, and the pixels are taken as sRGB: " + cut(
        ", ".join(names), 400
    )


@functools.lru_cache(maxsize=64)
def _colour(profile: bytes, mode: str) -> Colour:
    from PIL import Image, ImageCms

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
        import numpy

        steps = numpy.arange(0, 256, 15, dtype=numpy.uint8)
        grid = numpy.stack(numpy.meshgrid(steps, steps, steps), -1).reshape(1, -1, 3)  # 1, 18^3, 3
        colours = Image.fromarray(grid if taken == "RGB" else numpy.ascontiguousarray(grid[..., 0]))
        before = numpy.asarray(colours.convert("RGB"), dtype=int)
        after = numpy.asarray(ImageCms.applyTransform(colours, transform), dtype=int)
        if abs(after - before).max() <= _NEAR:
            return Colour()
    return Colour(taken, transform)
