"""Short requests for text search, each about a random part of what is visible in a photo."""

import numpy as np

from . import words
from .captions import Description, visible_top, with_article, with_particle
from .look import Look

ENGLISH_OPENINGS = ("", "", "", "looking for ", "find me ", "show me ")
KOREAN_ENDINGS = ("", "", "", " 찾아줘", " 보여줘", " 추천해줘")


def query(look: Look, rng: np.random.Generator, language: str) -> str:
    """For example "a neat dandy look", "a man in a dark green suit", "빨간 후드티 입은 사람", "깔끔한 댄디룩 찾아줘".

    Skin is never asked for. Raises ValueError for a language other than "en" and "ko".
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
    garment = say.say(words.TOP[visible_top(say.look)])
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
