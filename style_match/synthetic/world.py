"""The synthetic world: a latent taste decides what people wear, and partners have similar tastes.

A taste is a vector of five standard normals: two axes of a fashion plane, warm or cool palette, light or dark, polish.
Skin, hair, pose, framing, light and white balance do not depend on it.
"""

import colorsys
import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

RGB = tuple[int, int, int]
Colour = str | RGB

SKIN_TONES = ("#f6d7c3", "#eabf9f", "#d9a57c", "#b97f56", "#8d5a3b", "#623c28")
HAIR_COLOURS = ("#1f1a17", "#3b2a20", "#5d3d26", "#8a5a32", "#c9a063", "#a34a28", "#7a7a7d")
DARK_SHOE = "#2a2626"
DARK_SHIRT = "#26262a"


def hsv(hue: float, saturation: float, value: float) -> RGB:
    """Return RGB in 0..255; the hue wraps around at 1, saturation and value are clipped to 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return int(red * 255), int(green * 255), int(blue * 255)


def rgb(colour: Colour) -> RGB:
    """Return a `#rrggbb` string or a tuple as RGB in 0..255."""
    if isinstance(colour, str):
        return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
    return colour


def shade(colour: Colour, factor: float) -> RGB:
    """Darken a colour (`factor` below 1, black at 0) or lighten it (above 1, white at 2)."""
    if factor <= 1:
        red, green, blue = (int(max(0, channel * factor)) for channel in rgb(colour))
    else:
        red, green, blue = (int(channel + (255 - channel) * (factor - 1)) for channel in rgb(colour))
    return red, green, blue


STYLES = ("Casual_Basic", "Street_Hip", "Sporty_Athleisure", "Chic_Modern", "Classy_Elegant")
SHOT_TYPES = ("Selfie_CloseUp", "Mirrored_Selfie", "Others_Cam")
VISUAL_QUALITIES = ("High", "Medium", "Low")
SCENES = ("wall", "park", "street", "gym", "cafe", "evening", "room", "beach")


@dataclass(frozen=True, kw_only=True)
class Look:
    """Content of one photo: two equal looks give the same picture.

    `style` is the class that decided the garments; only they are drawn. An empty string in `headwear`, `eyewear` or
    `watch` means none. Jitters are in -1..1, `rotation` is in radians.
    """

    gender: str  # "f" or "m"
    style: str
    shot_type: str
    visual_quality: str
    # person
    skin: int
    hair: str
    hair_colour: int
    beard: bool
    makeup: bool
    smile: int  # 0 closed mouth, 1 open, 2 showing teeth
    gaze: float
    # garments
    top: str
    top_colour: RGB
    accent: RGB
    inner_colour: RGB | str
    inner_turtleneck: bool
    print_on_hoodie: bool
    bottom: str
    bottom_colour: RGB
    ripped_jeans: bool
    shoe: str
    shoe_colour: RGB | str
    # accessories
    tie: bool
    watch: str  # "", "gold" or "dark"
    chain: bool
    pearls: bool
    bag: bool
    earrings: bool
    headwear: str
    hat_colour: RGB
    headphones: bool
    eyewear: str
    # photo
    scene: str
    background_hue: float
    background_saturation: float
    background_blur: float
    light: float  # 0 dim .. 1 bright
    warmth: float  # white balance; positive is warm
    pose: float
    flipped: bool
    jitter_x: float
    jitter_y: float
    jitter_scale: float
    rotation: float
    texture_seed: int


TASTE_DIM = 5
SHOT_PROBABILITIES = (0.35, 0.2, 0.45)
# Order of the styles around the circle of the fashion plane; neighbours have something in common.
CIRCLE = ("Casual_Basic", "Sporty_Athleisure", "Street_Hip", "Chic_Modern", "Classy_Elegant")
STYLE_ANGLES = np.array([CIRCLE.index(style) for style in STYLES]) * 2 * np.pi / len(STYLES)
CHROMA_AND_VALUE = {
    "Casual_Basic": (0.75, 1.05),
    "Street_Hip": (1.0, 0.8),
    "Sporty_Athleisure": (1.15, 1.15),
    "Chic_Modern": (0.5, 0.95),
    "Classy_Elegant": (0.85, 0.7),
}
TOPS: dict[str, dict[str, tuple[str, ...]]] = {
    "Casual_Basic": {"f": ("tee", "sweater", "knit"), "m": ("tee", "sweater", "polo")},
    "Street_Hip": {"f": ("hoodie", "graphic", "puffer"), "m": ("hoodie", "graphic", "puffer")},
    "Sporty_Athleisure": {"f": ("tank", "track"), "m": ("tank", "track")},
    "Chic_Modern": {"f": ("turtle", "trench", "blazer"), "m": ("turtle", "trench", "blazer")},
    "Classy_Elegant": {"f": ("dress", "strapdress"), "m": ("suit",)},
}
BOTTOMS: dict[str, dict[str, tuple[str, ...]]] = {
    "Casual_Basic": {"f": ("jeans", "skirt"), "m": ("jeans",)},
    "Street_Hip": {"f": ("cargo", "jeans"), "m": ("cargo", "jeans")},
    "Sporty_Athleisure": {"f": ("leggings", "shorts"), "m": ("shorts", "joggers")},
    "Chic_Modern": {"f": ("wide", "skirt"), "m": ("wide",)},
    "Classy_Elegant": {"f": ("dress",), "m": ("suit",)},
}
SHOES = {
    "Casual_Basic": "sneaker",
    "Street_Hip": "boot",
    "Sporty_Athleisure": "sneaker",
    "Chic_Modern": "boot",
    "Classy_Elegant": "heels",
}
HAIR = {
    "f": ("long", "wavy", "bob", "bun", "pony", "curly"),
    "m": ("short", "crop", "side", "buzz", "curly"),
}
HEADWEAR = {
    "Street_Hip": ("beanie", "bucket", "beanie", "bucket", ""),
    "Sporty_Athleisure": ("band", "cap", "band", "cap", ""),
    "Chic_Modern": ("fedora", "fedora", ""),
}
HAUNTS = {
    "Casual_Basic": ("room", "park"),
    "Street_Hip": ("street",),
    "Sporty_Athleisure": ("gym", "beach"),
    "Chic_Modern": ("cafe",),
    "Classy_Elegant": ("evening",),
}


class Domain(IntEnum):
    """Separate random streams: photos of different domains differ, whatever the seeds."""

    COUPLE_TASTES = 1
    COUPLE_PHOTOS = 2
    STYLE_PHOTOS = 3
    PRETRAINING = 4


@dataclass(frozen=True, kw_only=True)
class WorldParams:
    """Parameters of a world.

    Attributes:
        rho: Correlation of the partners' tastes, 0..1.
        scene_follow: Probability that the scene follows the style, 0..1.
        temperature: Gumbel noise of the choice of a style by taste.
        noise: Standard deviation added to each use of a taste axis.
        background_follow: Probability that the background has the hue of the garment, 0..1.
        accessory_gain: Log-odds of polished accessories per unit of polish.

    Raises:
        ValueError: A parameter is out of range.
    """

    rho: float
    scene_follow: float
    temperature: float
    noise: float
    background_follow: float = 0.0
    accessory_gain: float = 1.5

    def __post_init__(self) -> None:
        for name in ("rho", "scene_follow", "background_follow"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)}")
        if self.temperature < 0 or self.noise < 0:
            raise ValueError(f"temperature and noise must not be negative, not {self.temperature}, {self.noise}")


def stream(domain: Domain, seed: int, index: int) -> np.random.Generator:
    """Return the random numbers of photo `index`; they depend on nothing but the three arguments.

    Raises:
        ValueError: The seed is not in 0..2**32-1.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"a world seed must be in 0..2**32-1, not {seed}")
    return np.random.default_rng(np.random.SeedSequence([int(domain), seed, index]))


def couple_tastes(num_couples: int, rho: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the tastes of both partners, two arrays (num_couples, 5) of standard normals with correlation `rho`.

    The first rows do not depend on `num_couples`.
    """
    shared, left, right = np.moveaxis(rng.normal(size=(num_couples, 3, TASTE_DIM)), 1, 0)
    return tuple(math.sqrt(rho) * shared + math.sqrt(1 - rho) * own for own in (left, right))


def choose_style(taste: np.ndarray, temperature: float, rng: np.random.Generator) -> str:
    """Return the style whose direction in the fashion plane is nearest to the taste, with Gumbel noise."""
    scores = taste[0] * np.cos(STYLE_ANGLES) + taste[1] * np.sin(STYLE_ANGLES)
    return STYLES[int(np.argmax(scores + temperature * rng.gumbel(size=len(STYLES))))]


def draw_look(
    taste: np.ndarray,
    gender: str,
    rng: np.random.Generator,
    params: WorldParams,
    style: str | None = None,
    quality: str | None = None,
) -> Look:
    """Sample the look of a person.

    Args:
        taste: (5,)
        gender: "f" or "m".
        rng: Random numbers of this photo.
        params: Parameters of the world.
        style: Overrides the style that taste would choose.
        quality: Overrides the quality that taste would choose.

    Raises:
        ValueError: Unknown gender.
    """
    if gender not in HAIR:
        raise ValueError(f"gender must be 'f' or 'm', not {gender!r}")
    taste = np.asarray(taste, float)
    if style is None:
        style = choose_style(taste, params.temperature, rng)
    female, formal, street = gender == "f", style == "Classy_Elegant", style == "Street_Hip"

    def perturb(axis: float) -> float:
        return axis + params.noise * rng.normal()

    def chance(probability: float) -> bool:
        return bool(rng.uniform() < probability)

    def pick(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))]

    palette, tone, polish = (perturb(axis) for axis in taste[2:])
    hue = 0.02 + 0.64 * _normal_cdf(-palette)
    saturation = float(np.clip(0.55 + 0.1 * rng.normal(), 0.2, 0.95))
    value = 0.2 + 0.72 * _normal_cdf(tone)
    chroma_factor, value_factor = CHROMA_AND_VALUE[style]
    colour = hsv(hue, saturation * chroma_factor, value * value_factor)
    accent = hsv(hue + 0.5 + 0.05 * rng.normal(), min(1, saturation * 1.1), 0.85)
    if formal:
        bottom_colour = colour
    elif style == "Casual_Basic":
        bottom_colour = hsv(0.6, 0.45, value * 0.8)
    else:
        bottom_colour = hsv(hue + 0.03 * rng.normal(), saturation * 0.6, value * 0.8)

    def polished(offset: float) -> bool:
        return chance(_sigmoid(params.accessory_gain * polish + offset))

    def eyewear() -> str:
        if street:
            return "sun" if chance(0.6) else ""
        return "round" if chance(0.5 if style == "Chic_Modern" else 0.12) else ""

    def visual_quality() -> str:
        if perturb(polish) > 0:
            return "High"
        return "Medium" if perturb(polish) > -0.9 else "Low"

    top = pick(TOPS[style][gender])
    return Look(
        gender=gender,
        style=style,
        shot_type=SHOT_TYPES[int(rng.choice(len(SHOT_TYPES), p=SHOT_PROBABILITIES))],
        visual_quality=visual_quality() if quality is None else quality,
        skin=int(rng.integers(len(SKIN_TONES))),
        hair=pick(HAIR[gender]),
        hair_colour=int(rng.integers(len(HAIR_COLOURS))),
        beard=not female and chance(_sigmoid(-1.2)),
        makeup=female and polished(0.0),
        smile=int(rng.integers(3)),
        gaze=rng.uniform(-0.06, 0.06),
        top=top,
        top_colour=colour,
        accent=accent,
        inner_colour=hsv(hue, 0.12, 0.95) if chance(0.6) else DARK_SHIRT,
        inner_turtleneck=chance(0.4),
        print_on_hoodie=chance(0.6),
        bottom=pick(BOTTOMS[style][gender]),
        bottom_colour=bottom_colour,
        ripped_jeans=street and chance(0.6),
        shoe="boot" if formal and not female else SHOES[style],
        shoe_colour=colour if chance(0.4) else DARK_SHOE,
        tie=top == "suit" and chance(0.75),
        watch=("gold" if formal else "dark") if polished(-1.0) else "",
        chain=street and chance(0.6),
        pearls=female and formal and chance(0.7),
        bag=female and style in ("Casual_Basic", "Chic_Modern", "Classy_Elegant") and polished(-0.8),
        earrings=female and polished(-0.3),
        headwear=pick(HEADWEAR.get(style, ("",))),
        hat_colour=accent if chance(0.5) else colour,
        headphones=style == "Sporty_Athleisure" and chance(0.3),
        eyewear=eyewear(),
        scene=pick(HAUNTS[style]) if chance(params.scene_follow) else pick(SCENES),
        background_hue=hue if chance(params.background_follow) else rng.uniform(),
        background_saturation=rng.uniform(0.03, 0.4),
        background_blur=float(rng.choice([0, 0.004, 0.012])),
        light=rng.uniform(),
        warmth=0.9 * rng.normal(),
        pose=rng.uniform(),
        flipped=chance(0.5),
        jitter_x=rng.uniform(-1, 1),
        jitter_y=rng.uniform(-1, 1),
        jitter_scale=rng.uniform(-1, 1),
        rotation=0.06 * rng.normal(),
        texture_seed=int(rng.integers(2**31)),
    )


def _normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))
