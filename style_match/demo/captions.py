"""What is said about a photo: only what can be seen in it, never the taste or the style class behind it."""

import colorsys

import numpy as np

from . import words
from .look import Look
from .words import Words

LANGUAGES = ("en", "ko")
COUPLE_KEYS = (
    "appearance_type",
    "style_vibe",
    "personality_impression",
    "grooming_level",
    "photo_style",
    "image_quality",
    "physical_features",
    "caption",
)
STYLE_KEYS = ("fashion_style", "shot_type", "visual_quality", "physical_features", "caption")

HUE_EDGES, RED_FROM = (0.035, 0.11, 0.2, 0.42, 0.53, 0.7), 0.93
DARK_BELOW, BRIGHT_ABOVE = 0.38, 0.72
LOOK_OF_TOP = {
    **dict.fromkeys(("tee", "sweater", "knit", "polo"), "relaxed"),
    **dict.fromkeys(("hoodie", "graphic", "puffer"), "loose"),
    **dict.fromkeys(("tank", "track"), "workout"),
    **dict.fromkeys(("dress", "strapdress"), "graceful"),
    "suit": "dandy",
}
GROOMED = ("tie", "pearls", "watch", "bag", "strap", "earrings", "makeup")
HATS = ("beanie", "cap", "bucket", "fedora")


class Description:
    """The visible parts of one look in one language ("en" or "ko"). Raises ValueError for another language."""

    def __init__(self, look: Look, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, not {language!r}")
        self.look, self.korean = look, language == "ko"

    def say(self, pair: Words) -> str:
        return pair[self.korean]

    def person(self) -> str:
        return self.say(words.PERSON[self.look.gender])

    def top(self) -> str:
        return f"{self.say(colour_words(self.look.top_colour))} {self.say(words.TOP[visible_top(self.look)])}"

    def outfit(self) -> str:
        """Top and, where it is in the picture, bottom."""
        bottom = visible_bottom(self.look)
        if bottom is None:
            return self.top()
        if self.korean:
            return f"{with_particle(self.top(), '과', '와')} {self.say(words.BOTTOM[bottom])}"
        return f"{self.top()} and {self.say(words.BOTTOM[bottom])}"

    def wearer(self, clothes: str, person: str) -> str:
        if self.korean:
            return f"{with_particle(clothes, '을', '를')} 입은 {person}"
        return f"{with_article(person)} in {with_article(clothes)}"

    def look_phrase(self) -> str:
        adjective = words.NEAT if groomed_parts(self.look) else words.PLAIN
        return f"{self.say(adjective)} {self.say(words.LOOK[look_kind(self.look)])}"

    def light(self) -> str:
        warmth = "warm" if self.look.warmth > 0.5 else "cool" if self.look.warmth < -0.5 else "neutral"
        level = "bright" if self.look.light > 0.66 else "dim" if self.look.light < 0.33 else "even"
        return f"{self.say(words.WARMTH[warmth])} {self.say(words.LIGHT[level])}"

    def scene(self) -> str:
        return f"{self.say(words.SCENE[self.look.scene])} {self.say(('background', '배경'))}"

    def accessories(self) -> list[str]:
        return [self.say(words.ACCESSORY[part]) for part in visible_accessories(self.look)]

    def hair(self) -> str:
        style = visible_hair(self.look)
        if style is None:
            return self.say(("hair under the hat", "모자 속 머리"))
        return f"{self.say(words.HAIR_COLOUR[self.look.hair_colour])} {self.say(words.HAIR[style])}"

    def skin(self) -> str:
        return self.say(words.SKIN[self.look.skin])


def caption(look: Look, language: str = "en") -> str:
    """One line: quality, shot, garments, look, light, background, what is worn with it, hair, skin."""
    say = Description(look, language)
    look_phrase = say.look_phrase() if say.korean else with_article(say.look_phrase())
    parts = [
        say.say(words.QUALITY[look.visual_quality]),
        say.say(words.SHOT[look.shot_type]),
        say.wearer(say.outfit(), say.person()),
        look_phrase,
        say.light(),
        say.scene(),
    ]
    if accessories := say.accessories():
        parts.append(f"{', '.join(accessories)} 보임" if say.korean else f"with {' and '.join(accessories)}")
    return ", ".join([*parts, say.hair(), say.skin()])


def couple_metadata(look: Look) -> dict[str, str]:
    """What a labeler would say with the schema for couples (`COUPLE_KEYS`), in English."""
    say = Description(look, "en")
    impression = words.IMPRESSION[look.smile]
    return {
        "appearance_type": look_kind(look),
        "style_vibe": f"{say.look_phrase()}, {say.outfit()}",
        "personality_impression": f"{impression}, reserved" if look.eyewear == "sun" else impression,
        "grooming_level": ("low", "medium", "high")[min(2, len(groomed_parts(look)))],
        "photo_style": f"{say.say(words.SHOT[look.shot_type])}, {say.light()}, {say.scene()}",
        "image_quality": say.say(words.QUALITY[look.visual_quality]),
        "physical_features": _physical_features(say),
        "caption": caption(look),
    }


def style_metadata(look: Look) -> dict[str, str]:
    """What a labeler would say with the schema for styles (`STYLE_KEYS`); `fashion_style` is the label itself."""
    return {
        "fashion_style": look.style,
        "shot_type": look.shot_type,
        "visual_quality": look.visual_quality,
        "physical_features": _physical_features(Description(look, "en")),
        "caption": caption(look),
    }


def visible_top(look: Look) -> str:
    """In a close-up a trench coat cannot be told from a blazer: its belt is out of the picture."""
    return "jacket" if _close_up(look) and look.top in ("trench", "blazer") else look.top


def visible_bottom(look: Look) -> str | None:
    """None where no bottom can be seen: in a close-up, under a dress, or under a trench coat cut off at the knees."""
    if _close_up(look) or look.bottom == "dress" or (look.top == "trench" and look.shot_type == "Mirrored_Selfie"):
        return None
    if look.bottom == "jeans" and look.ripped_jeans and look.shot_type == "Others_Cam":
        return "ripped_jeans"
    return look.bottom


def visible_accessories(look: Look) -> list[str]:
    """Keys of `words.ACCESSORY`, from head to hand."""
    close_up = _close_up(look)
    parts = [part for part in (look.headwear, look.eyewear) if part]
    parts += [part for part in ("headphones", "earrings", "makeup", "beard") if getattr(look, part)]
    parts += [part for part in ("tie", "pearls", "chain") if getattr(look, part)]
    if look.bag:
        parts.append("strap" if close_up else "bag")
    if look.watch and not close_up:
        parts.append("watch")
    return parts


def groomed_parts(look: Look) -> list[str]:
    """The visible accessories that make a look neat."""
    return [part for part in visible_accessories(look) if part in GROOMED]


def visible_hair(look: Look) -> str | None:
    """None for a buzz cut under a hat. A crop is drawn like short hair, and so is a parting under a hat."""
    hat = look.headwear in HATS
    if look.hair == "buzz":
        return None if hat else "buzz"
    return "short" if look.hair == "crop" or (hat and look.hair == "side") else look.hair


def look_kind(look: Look) -> str:
    """A key of `words.LOOK`, from the top garment alone."""
    return LOOK_OF_TOP.get(look.top, "city" if look.gender == "f" else "dandy")


def colour_words(colour: tuple[int, int, int]) -> Words:
    """A name such as "dark green" of an RGB colour in 0..255."""
    hue, _, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    names = words.HUE[int(np.digitize(hue, HUE_EDGES)) if hue < RED_FROM else 0]
    tones = words.TONE["dark" if value < DARK_BELOW else "bright" if value > BRIGHT_ABOVE else "middle"]
    return tones[0] + names[0], tones[1] + names[1]


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def with_particle(noun: str, after_consonant: str, after_vowel: str) -> str:
    """The noun with the Korean particle that its last syllable asks for."""
    has_final_consonant = (ord(noun[-1]) - ord("가")) % 28 != 0
    return noun + (after_consonant if has_final_consonant else after_vowel)


def _close_up(look: Look) -> bool:
    return look.shot_type == "Selfie_CloseUp"


def _physical_features(say: Description) -> str:
    return ", ".join([say.hair(), say.skin(), *(["beard"] if say.look.beard else [])])
