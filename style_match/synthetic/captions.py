"""Descriptions of a drawn photo in English and Korean: captions, metadata and short search queries.

They describe only visible things, never the taste or the style class behind them.
"""

import colorsys

import numpy as np

from style_match.synthetic.world import Look

Words = tuple[str, str]  # English, Korean

# No word below is part of the name of a style class, also not in Korean transliteration: a caption must not contain the
# label.

PERSON = {"f": ("woman", "여자"), "m": ("man", "남자")}
QUALITY = {
    "High": ("sharp image", "선명한 사진"),
    "Medium": ("soft image", "살짝 흐린 사진"),
    "Low": ("blurry noisy image", "흐리고 거친 사진"),
}
SHOT = {
    "Selfie_CloseUp": ("close up selfie", "가까이 찍은 셀카"),
    "Mirrored_Selfie": ("mirror selfie with phone", "휴대폰을 든 거울 셀카"),
    "Others_Cam": ("full body photo", "전신 사진"),
}
TOP = {
    "tee": ("t-shirt", "티셔츠"),
    "sweater": ("striped sweater", "줄무늬 스웨터"),
    "knit": ("knit top", "니트"),
    "polo": ("polo shirt", "폴로 셔츠"),
    "hoodie": ("hoodie", "후드티"),
    "graphic": ("graphic t-shirt", "그래픽 티셔츠"),
    "puffer": ("puffer jacket", "패딩"),
    "tank": ("tank top", "민소매"),
    "track": ("track jacket", "트랙 재킷"),
    "turtle": ("turtleneck", "터틀넥"),
    "trench": ("trench coat", "트렌치코트"),
    "blazer": ("blazer", "블레이저"),
    "jacket": ("jacket", "재킷"),
    "dress": ("dress", "원피스"),
    "strapdress": ("slip dress", "끈 원피스"),
    "suit": ("suit", "정장"),
}
BOTTOM = {
    "jeans": ("jeans", "청바지"),
    "ripped_jeans": ("ripped jeans", "찢어진 청바지"),
    "skirt": ("skirt", "치마"),
    "cargo": ("cargo trousers", "카고 바지"),
    "leggings": ("leggings", "레깅스"),
    "shorts": ("shorts", "반바지"),
    "joggers": ("jogger trousers", "조거 팬츠"),
    "wide": ("wide trousers", "와이드 팬츠"),
    "suit": ("suit trousers", "정장 바지"),
}
HUE = (
    ("red", "빨간"),
    ("orange", "주황색"),
    ("yellow", "노란"),
    ("green", "초록색"),
    ("teal", "청록색"),
    ("blue", "파란"),
    ("purple", "보라색"),
)
TONE = {"dark": ("dark ", "어두운 "), "middle": ("", ""), "bright": ("bright ", "밝은 ")}
NEAT, PLAIN = ("neat", "깔끔한"), ("plain", "수수한")
LOOK = {
    "relaxed": ("relaxed look", "편안한 룩"),
    "loose": ("loose look", "오버핏 룩"),
    "workout": ("workout look", "운동복 룩"),
    "dandy": ("dandy look", "댄디룩"),
    "graceful": ("graceful look", "우아한 룩"),
    "city": ("city look", "도시적인 룩"),
}
WARMTH = {"warm": ("warm", "따뜻하고"), "neutral": ("neutral", "자연스럽고"), "cool": ("cool", "차갑고")}
LIGHT = {
    "bright": ("bright light", "밝은 조명"),
    "even": ("even light", "고른 조명"),
    "dim": ("dim light", "어두운 조명"),
}
SCENE = {
    "wall": ("bare wall", "빈 벽"),
    "park": ("park", "공원"),
    "street": ("city blocks", "빌딩가"),
    "gym": ("gym", "헬스장"),
    "cafe": ("bar", "바"),
    "evening": ("night lights", "밤 불빛"),
    "room": ("room", "방"),
    "beach": ("beach", "해변"),
}
ACCESSORY = {
    "beanie": ("beanie", "비니"),
    "cap": ("cap", "캡 모자"),
    "bucket": ("bucket hat", "벙거지"),
    "band": ("headband", "헤어밴드"),
    "fedora": ("fedora", "중절모"),
    "sun": ("sunglasses", "선글라스"),
    "round": ("round glasses", "동그란 안경"),
    "headphones": ("headphones", "헤드폰"),
    "tie": ("tie", "넥타이"),
    "pearls": ("pearls", "진주 목걸이"),
    "chain": ("chain", "체인 목걸이"),
    "watch": ("watch", "시계"),
    "bag": ("bag", "가방"),
    "strap": ("shoulder strap", "가방 끈"),
    "earrings": ("earrings", "귀걸이"),
    "makeup": ("red lips", "붉은 입술"),
    "beard": ("beard", "수염"),
}
HAIR_COLOUR = (
    ("black", "검은"),
    ("dark brown", "흑갈색"),
    ("brown", "갈색"),
    ("light brown", "밝은 갈색"),
    ("blond", "금발"),
    ("red", "붉은"),
    ("grey", "회색"),
)
HAIR = {
    "long": ("long hair", "긴 머리"),
    "wavy": ("wavy hair", "웨이브 머리"),
    "bob": ("bob hair", "단발 머리"),
    "bun": ("bun hair", "올림 머리"),
    "pony": ("pony tail hair", "묶은 머리"),
    "curly": ("curly hair", "곱슬 머리"),
    "short": ("short hair", "짧은 머리"),
    "side": ("side parted hair", "가르마 머리"),
    "buzz": ("buzz cut hair", "반삭 머리"),
}
SKIN = (
    ("very light skin", "아주 밝은 피부"),
    ("light skin", "밝은 피부"),
    ("tan skin", "살짝 그을린 피부"),
    ("olive skin", "올리브빛 피부"),
    ("brown skin", "갈색 피부"),
    ("deep skin", "짙은 피부"),
)
IMPRESSION = ("calm", "friendly", "cheerful")

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
    """Phrases for the visible parts of one look.

    Args:
        look: The look.
        language: "en" or "ko".

    Raises:
        ValueError: Another language.
    """

    def __init__(self, look: Look, language: str) -> None:
        if language not in LANGUAGES:
            raise ValueError(f"language must be one of {', '.join(LANGUAGES)}, not {language!r}")
        self.look, self.korean = look, language == "ko"

    def say(self, pair: Words) -> str:
        return pair[self.korean]

    def person(self) -> str:
        return self.say(PERSON[self.look.gender])

    def top(self) -> str:
        return f"{self.say(colour_words(self.look.top_colour))} {self.say(TOP[visible_top(self.look)])}"

    def outfit(self) -> str:
        """Return the top and, if visible, the bottom garment."""
        bottom = visible_bottom(self.look)
        if bottom is None:
            return self.top()
        if self.korean:
            return f"{with_particle(self.top(), '과', '와')} {self.say(BOTTOM[bottom])}"
        return f"{self.top()} and {self.say(BOTTOM[bottom])}"

    def wearer(self, clothes: str, person: str) -> str:
        if self.korean:
            return f"{with_particle(clothes, '을', '를')} 입은 {person}"
        return f"{with_article(person)} in {with_article(clothes)}"

    def look_phrase(self) -> str:
        adjective = NEAT if groomed_parts(self.look) else PLAIN
        return f"{self.say(adjective)} {self.say(LOOK[look_kind(self.look)])}"

    def light(self) -> str:
        return f"{self.say(WARMTH[warmth_level(self.look)])} {self.say(LIGHT[light_level(self.look)])}"

    def scene(self) -> str:
        return f"{self.say(SCENE[self.look.scene])} {self.say(('background', '배경'))}"

    def accessories(self) -> list[str]:
        return [self.say(ACCESSORY[part]) for part in visible_accessories(self.look)]

    def hair(self) -> str:
        style = visible_hair(self.look)
        if style is None:
            return self.say(("hair under the hat", "모자 속 머리"))
        return f"{self.say(HAIR_COLOUR[self.look.hair_colour])} {self.say(HAIR[style])}"

    def skin(self) -> str:
        return self.say(SKIN[self.look.skin])


def caption(look: Look, language: str = "en") -> str:
    """Return one line: quality, shot, garments, look, light, background, accessories, hair, skin.

    Raises:
        ValueError: The language is neither "en" nor "ko".
    """
    say = Description(look, language)
    look_phrase = say.look_phrase() if say.korean else with_article(say.look_phrase())
    parts = [
        say.say(QUALITY[look.visual_quality]),
        say.say(SHOT[look.shot_type]),
        say.wearer(say.outfit(), say.person()),
        look_phrase,
        say.light(),
        say.scene(),
    ]
    if accessories := say.accessories():
        parts.append(f"{', '.join(accessories)} 보임" if say.korean else f"with {' and '.join(accessories)}")
    return ", ".join([*parts, say.hair(), say.skin()])


def couple_metadata(look: Look) -> dict[str, str]:
    """Return English metadata as a labeler would write it with the schema for couples (`COUPLE_KEYS`)."""
    say = Description(look, "en")
    impression = IMPRESSION[look.smile]
    return {
        "appearance_type": look_kind(look),
        "style_vibe": f"{say.look_phrase()}, {say.outfit()}",
        "personality_impression": f"{impression}, reserved" if look.eyewear == "sun" else impression,
        "grooming_level": ("low", "medium", "high")[min(2, len(groomed_parts(look)))],
        "photo_style": f"{say.say(SHOT[look.shot_type])}, {say.light()}, {say.scene()}",
        "image_quality": say.say(QUALITY[look.visual_quality]),
        "physical_features": _physical_features(say),
        "caption": caption(look),
    }


def style_metadata(look: Look) -> dict[str, str]:
    """Return metadata as a labeler would write it with the schema for styles; `fashion_style` is the class."""
    return {
        "fashion_style": look.style,
        "shot_type": look.shot_type,
        "visual_quality": look.visual_quality,
        "physical_features": _physical_features(Description(look, "en")),
        "caption": caption(look),
    }


def visible_top(look: Look) -> str:
    """Return a key of `TOP`. In a close-up, trench coat and blazer look the same: the belt is outside the picture."""
    return "jacket" if _close_up(look) and look.top in ("trench", "blazer") else look.top


def visible_bottom(look: Look) -> str | None:
    """Return a key of `BOTTOM`; None in a close-up, under a dress, or under a trench coat in a mirror selfie."""
    if _close_up(look) or look.bottom == "dress" or (look.top == "trench" and look.shot_type == "Mirrored_Selfie"):
        return None
    if look.bottom == "jeans" and look.ripped_jeans and look.shot_type == "Others_Cam":
        return "ripped_jeans"
    return look.bottom


def visible_accessories(look: Look) -> list[str]:
    """Return keys of `ACCESSORY`, from head to hand."""
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
    """Return the visible accessories that make a look neat."""
    return [part for part in visible_accessories(look) if part in GROOMED]


def visible_hair(look: Look) -> str | None:
    """Return a key of `HAIR`; None for a buzz cut under a hat.

    A crop is drawn like short hair, and a hat hides a parting.
    """
    hat = look.headwear in HATS
    if look.hair == "buzz":
        return None if hat else "buzz"
    return "short" if look.hair == "crop" or (hat and look.hair == "side") else look.hair


def look_kind(look: Look) -> str:
    """Return a key of `LOOK`, which the top garment decides."""
    return LOOK_OF_TOP.get(look.top, "city" if look.gender == "f" else "dandy")


def warmth_level(look: Look) -> str:
    """Return a key of `WARMTH`."""
    return "warm" if look.warmth > 0.5 else "cool" if look.warmth < -0.5 else "neutral"


def light_level(look: Look) -> str:
    """Return a key of `LIGHT`."""
    return "bright" if look.light > 0.66 else "dim" if look.light < 0.33 else "even"


def colour_words(colour: tuple[int, int, int]) -> Words:
    """Return a name such as "dark green" for an RGB colour in 0..255."""
    hue, _, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    names = HUE[int(np.digitize(hue, HUE_EDGES)) if hue < RED_FROM else 0]
    tones = TONE["dark" if value < DARK_BELOW else "bright" if value > BRIGHT_ABOVE else "middle"]
    return tones[0] + names[0], tones[1] + names[1]


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def with_particle(noun: str, after_consonant: str, after_vowel: str) -> str:
    """Return the noun with the Korean particle that fits its last syllable."""
    has_final_consonant = (ord(noun[-1]) - ord("가")) % 28 != 0
    return noun + (after_consonant if has_final_consonant else after_vowel)


def _close_up(look: Look) -> bool:
    return look.shot_type == "Selfie_CloseUp"


def _physical_features(say: Description) -> str:
    return ", ".join([say.hair(), say.skin(), *(["beard"] if say.look.beard else [])])


# Search queries.
ENGLISH_OPENINGS = ("", "", "", "looking for ", "find me ", "show me ")
KOREAN_ENDINGS = ("", "", "", " 찾아줘", " 보여줘", " 추천해줘")


def query(look: Look, rng: np.random.Generator, language: str) -> str:
    """Return a random search query that is true of a look; it never mentions skin.

    For example "a neat dandy look", "a man in a dark green suit", "빨간 후드티 입은 사람", "깔끔한 댄디룩 찾아줘".

    Raises:
        ValueError: The language is neither "en" nor "ko".
    """
    say = Description(look, language)
    askers = (_look, _look, _clothes, _clothes, _clothes_and_accessory, _scene, _accessory, _look_and_clothes, _hair)
    request = askers[int(rng.integers(len(askers)))](say, rng)
    if say.korean:
        return request + _pick(KOREAN_ENDINGS, rng)
    return _pick(ENGLISH_OPENINGS, rng) + request


def _pick(options: list[str] | tuple[str, ...], rng: np.random.Generator) -> str:
    return options[int(rng.integers(len(options)))]


def _someone(say: Description, rng: np.random.Generator) -> str:
    return _pick([say.person(), say.person(), say.say(("person", "사람"))], rng)


def _look(say: Description, rng: np.random.Generator) -> str:
    phrase = say.look_phrase()
    person = _someone(say, rng)
    if say.korean:
        return _pick([phrase, phrase, f"{phrase}의 {person}", f"{phrase} {person}"], rng)
    plain = with_article(phrase)
    return _pick([plain, plain, f"{with_article(person)} with {plain}", phrase], rng)


def _clothes(say: Description, rng: np.random.Generator) -> str:
    garment = say.say(TOP[visible_top(say.look)])
    clothes = _pick([say.top(), say.top(), garment, say.outfit()], rng)
    person = _someone(say, rng)
    if say.korean:
        return _pick([f"{clothes} 입은 {person}", say.wearer(clothes, person), clothes], rng)
    return _pick([say.wearer(clothes, person), say.wearer(clothes, person), clothes], rng)


def _clothes_and_accessory(say: Description, rng: np.random.Generator) -> str:
    accessories = say.accessories()
    if not accessories:
        return _clothes(say, rng)
    person, accessory = _someone(say, rng), _pick(accessories, rng)
    if say.korean:
        return f"{with_particle(say.top(), '과', '와')} {accessory}, {person}"
    return f"{say.wearer(say.top(), person)} with {accessory}"


def _accessory(say: Description, rng: np.random.Generator) -> str:
    accessories = say.accessories()
    if not accessories:
        return _hair(say, rng)
    person, accessory = _someone(say, rng), _pick(accessories, rng)
    if say.korean:
        return f"{with_particle(accessory, '이', '가')} 보이는 {person}"
    return f"{with_article(person)} with {accessory}"


def _scene(say: Description, rng: np.random.Generator) -> str:
    person = _someone(say, rng)
    if say.korean:
        return _pick([f"{say.scene()} {person}", f"{say.scene()}, {say.look_phrase()}"], rng)
    look_phrase = with_article(say.look_phrase())
    return _pick([f"{with_article(person)}, {say.scene()}", f"{look_phrase}, {say.scene()}"], rng)


def _look_and_clothes(say: Description, rng: np.random.Generator) -> str:
    if say.korean:
        return f"{say.look_phrase()}, {say.top()}"
    return f"{with_article(say.look_phrase())}, {say.top()}"


def _hair(say: Description, rng: np.random.Generator) -> str:
    person = _someone(say, rng)
    return f"{say.hair()} {person}" if say.korean else f"{with_article(person)} with {say.hair()}"
