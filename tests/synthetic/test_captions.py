"""Captions, metadata and queries say what is visible, and never a class name."""

import dataclasses
import json

import numpy as np
import pytest

from style_match.synthetic import captions
from style_match.synthetic.captions import caption, couple_metadata, query, style_metadata
from style_match.synthetic.figures import render
from style_match.synthetic.world import STYLES, TASTE_DIM, Domain, Look, WorldParams, draw_look, stream

PARAMS = WorldParams(rho=0.0, scene_follow=0.5, temperature=0.1, noise=0.2)
FORBIDDEN = (
    *("casual", "basic", "street", "hip", "sporty", "athleisure", "chic", "modern", "classy", "elegant"),
    *("캐주얼", "캐쥬얼", "베이직", "스트릿", "스트리트", "힙", "스포티", "애슬레저", "애슬래저"),
    *("시크", "모던", "클래시", "엘레강", "엘리건"),
)


@pytest.fixture(scope="module")
def looks() -> list[Look]:
    drawn = []
    for index in range(2000):
        rng = stream(Domain.STYLE_PHOTOS, 5, index)
        drawn.append(draw_look(rng.normal(size=TASTE_DIM), "fm"[index % 2], rng, PARAMS))
    return drawn


def close_up(look: Look, **changes) -> Look:
    return dataclasses.replace(look, shot_type="Selfie_CloseUp", **changes)


def texts_of(look: Look, seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    styles = {key: value for key, value in style_metadata(look).items() if key == "physical_features"}
    return [
        caption(look),
        caption(look, "ko"),
        json.dumps(couple_metadata(look)),
        json.dumps(styles),
        *(query(look, rng, language) for language in ("en", "ko") for _ in range(3)),
    ]


def test_no_class_name_is_ever_said(looks):
    for index, look in enumerate(looks):
        for text in texts_of(look, index):
            found = [word for word in FORBIDDEN if word in text.lower()]
            assert not found, text


def test_the_style_is_not_read(looks):
    """Two looks that differ in their class alone give one picture, and everything said about it is the same."""
    for index, look in enumerate(looks[:100]):
        other = dataclasses.replace(look, style=next(style for style in STYLES if style != look.style))
        assert texts_of(look, index) == texts_of(other, index)
    assert render(looks[0], 64) == render(dataclasses.replace(looks[0], style="Street_Hip"), 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"bottom": "wide"},
        {"bottom_colour": (255, 0, 0)},
        {"ripped_jeans": True},
        {"shoe": "heels"},
    ],
)
def test_what_a_close_up_cuts_off_is_not_said(looks, changes):
    tried = 0
    for index, look in enumerate(looks):
        if look.bottom in ("skirt", "dress") or tried == 20:
            continue
        tried += 1
        before, after = close_up(look), close_up(look, **changes)
        assert render(before, 48) == render(after, 48)
        assert texts_of(before, index) == texts_of(after, index)


def test_a_watch_in_a_close_up_is_not_said(looks):
    """The wrist is out of the picture, or a pixel at its edge."""
    for index, look in enumerate(looks[:40]):
        assert texts_of(close_up(look, watch=""), index) == texts_of(close_up(look, watch="gold"), index)


def test_what_is_said_can_be_seen(looks):
    """An accessory that is named changes the picture when it is taken off."""
    fields = {"beanie": "headwear", "cap": "headwear", "bucket": "headwear", "band": "headwear", "fedora": "headwear"}
    fields |= {"sun": "eyewear", "round": "eyewear", "strap": "bag"}
    checked = set()
    for look in looks:
        sharp = dataclasses.replace(look, visual_quality="High")
        for part in captions.visible_accessories(sharp):
            case = part, look.shot_type
            field = fields.get(part, part)
            if case not in checked:
                checked.add(case)
                bare = dataclasses.replace(sharp, **{field: type(getattr(sharp, field))()})
                assert render(sharp, 128) != render(bare, 128), case
    assert len(checked) > 45


def test_caption_begins_with_quality_shot_and_garments(looks):
    for look in looks[:50]:
        quality, shot, wearer = caption(look).split(", ")[:3]
        assert quality.endswith("image") and ("selfie" in shot or "photo" in shot)
        assert wearer.startswith(("a woman in a", "a man in a"))


def test_schemas_have_exactly_their_keys(looks):
    assert tuple(couple_metadata(looks[0])) == captions.COUPLE_KEYS
    assert tuple(style_metadata(looks[0])) == captions.STYLE_KEYS
    assert style_metadata(looks[0])["fashion_style"] == looks[0].style


def test_neat_needs_something_neat(looks):
    for look in looks[:300]:
        assert ("neat" in caption(look)) == bool(captions.groomed_parts(look)) == ("깔끔한" in caption(look, "ko"))


def test_korean_particles():
    assert captions.with_particle("정장", "을", "를") == "정장을"
    assert captions.with_particle("후드티", "을", "를") == "후드티를"


def test_unknown_language_is_an_error(looks):
    with pytest.raises(ValueError, match="language"):
        caption(looks[0], "fr")
