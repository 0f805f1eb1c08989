"""What is drawn in one photo."""

from dataclasses import dataclass

from .palette import RGB

STYLES = ("Casual_Basic", "Street_Hip", "Sporty_Athleisure", "Chic_Modern", "Classy_Elegant")
SHOT_TYPES = ("Selfie_CloseUp", "Mirrored_Selfie", "Others_Cam")
VISUAL_QUALITIES = ("High", "Medium", "Low")
SCENES = ("wall", "park", "street", "gym", "cafe", "evening", "room", "beach")


@dataclass(frozen=True, kw_only=True)
class Look:
    """Everything `render` needs, and nothing else: two equal looks give the same picture.

    `style` is the class the garments were drawn from; it is a label and not itself drawn. An empty string in
    `headwear`, `eyewear` or `watch` means none. Jitters are in units of the framing (see `render`), `rotation` is in
    radians.
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
