"""Augmented views of a photo: the same person, with small changes. Uses only Pillow, no torch."""

import hashlib
import json
import math
import random
from dataclasses import asdict, dataclass

from PIL import Image, ImageEnhance, ImageFilter, ImageOps

# Part of every view's address: change it whenever `Augmentation.view` gives other pixels for the same draws.
VIEW_POLICY = "crop, flip, colour, blur; v1"


@dataclass(frozen=True)
class Augmentation:
    """How far a view may be from its photo; see conf/balance. With all of them 0 it is the photo, pixel for pixel.

    Args:
        flip: share of views that are mirrored.
        crop: most of the area that is cut away, below 1; what is left is brought back to the photo's size.
        stretch: the crop's ratio of sides is the photo's times at most 1 + stretch, or divided by it.
        brightness, contrast, saturation: factors lie in [1 - x, 1 + x].
        hue: turned by at most so many turns of the colour circle.
        blur: largest radius of the Gaussian, in longest sides of the photo.
    """

    flip: float
    crop: float
    stretch: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    blur: float

    def view(self, image: Image.Image, rng: random.Random) -> Image.Image:
        """A view (H x W, as the photo) of an RGB image (H x W)."""
        # all drawn before any is used: switching one part off leaves the others as they are
        area, ratio, left, top, flip, brightness, contrast, saturation, hue, blur = (rng.random() for _ in range(10))
        if self.crop or self.stretch:
            box = self._box(image.size, area, ratio, left, top)
            image = image.resize(image.size, Image.Resampling.BICUBIC, box=box)
        if flip < self.flip:
            image = ImageOps.mirror(image)
        for enhancer, most, uniform in (
            (ImageEnhance.Brightness, self.brightness, brightness),
            (ImageEnhance.Contrast, self.contrast, contrast),
            (ImageEnhance.Color, self.saturation, saturation),
        ):
            if most:
                image = enhancer(image).enhance(1 + _around_0(uniform, most))
        if turned := round(256 * _around_0(hue, self.hue)):
            image = _turn_hue(image, turned)
        if radius := blur * self.blur * max(image.size):
            image = image.filter(ImageFilter.GaussianBlur(radius))
        return image

    def _box(
        self, size: tuple[int, int], area: float, ratio: float, left: float, top: float
    ) -> tuple[float, float, float, float]:
        """(left, upper, right, lower) of the crop, in pixels and inside of the photo."""
        kept, log_ratio = 1 - area * self.crop, _around_0(ratio, math.log1p(self.stretch))
        width, height = (
            min(side, max(1.0, side * math.sqrt(kept * math.exp(sign * log_ratio))))
            for side, sign in zip(size, (1, -1), strict=True)
        )
        x, y = left * (size[0] - width), top * (size[1] - height)
        return x, y, min(x + width, size[0]), min(y + height, size[1])


@dataclass(frozen=True)
class View:
    """One view: what it may be, and the numbers that with the photo's bytes decide what it is."""

    augmentation: Augmentation
    draw: tuple[int, ...]

    @property
    def policy(self) -> str:
        """All that decides the pixels, but for the photo."""
        return json.dumps([VIEW_POLICY, asdict(self.augmentation), self.draw], sort_keys=True)

    def of(self, image: Image.Image, photo_sha256: str) -> Image.Image:
        """The view of a photo, the same one always."""
        seed = hashlib.sha256(json.dumps([photo_sha256, self.draw]).encode()).digest()
        return self.augmentation.view(image, random.Random(int.from_bytes(seed)))


@dataclass(frozen=True)
class Views:
    """Which photos have how many views.

    Args:
        num: V, of each photo.
        photos: positions of the photos that have them, all of training profiles.
        seed: of what they look like.
    """

    augmentation: Augmentation
    num: int
    photos: tuple[int, ...]
    seed: int

    def photo_of(self, row: int) -> int:
        """Return the photo of a row of all views, which are ordered by photo."""
        return self.photos[row // self.num]

    def stored(self, number: int) -> View:
        """The view of number 1 to V that is computed once."""
        return View(self.augmentation, (self.seed, number))

    def fresh(self, number: int, *, seed: int, epoch: int) -> View:
        """The view of number 1 to V that only this epoch of the run with this seed has (encode=online)."""
        return View(self.augmentation, (self.seed, number, seed, epoch))


def _around_0(uniform: float, most: float) -> float:
    """A number in [-most, most) of one in [0, 1)."""
    return (2 * uniform - 1) * most


def _turn_hue(image: Image.Image, turned: int) -> Image.Image:
    hue, saturation, value = image.convert("HSV").split()
    return Image.merge("HSV", (hue.point(lambda level: (level + turned) % 256), saturation, value)).convert("RGB")
