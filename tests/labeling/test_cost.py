"""Tokens of images by the published examples, prices, and models at their end."""

import math
from datetime import date

import pytest
import yaml

from style_match.cli import main
from style_match.labeling.answers import Usage
from style_match.labeling.cost import Price, check_served, find_model, find_price, image_tokens
from style_match.utils.errors import UserError

CONF = yaml.safe_load((main.conf_dir() / "labeler" / "openai.yaml").read_text(encoding="utf-8"))
MODELS, UNPRICED = CONF["models"], CONF["price"]
TILES = {"kind": "tiles", "base": 85, "tile": 170, "fit_px": 2048, "short_px": 768, "tile_px": 512}
PATCHES = {"kind": "patches", "patch_px": 32, "multiplier": 1.0, "max_patches": 1536}


@pytest.mark.parametrize(("size", "tokens"), [((1024, 1024), 1024), ((1800, 2400), 1452), ((33, 32), 2)])
def test_patches_as_the_guide_counts_them(size, tokens):
    assert image_tokens(*size, PATCHES, "high") == image_tokens(*size[::-1], PATCHES, None) == tokens


@pytest.mark.parametrize(("size", "tokens"), [((1024, 1024), 765), ((2048, 4096), 1105)])
def test_tiles_as_the_guide_counts_them(size, tokens):
    assert image_tokens(*size, TILES, "high") == tokens
    assert image_tokens(*size, TILES, "low") == 85


@pytest.mark.parametrize(("side", "tokens"), [(256, 77), (512, 308), (768, 692), (1024, 1229)])
def test_the_rule_of_gpt_6_fits_what_was_counted(side, tokens):
    assert image_tokens(side, side, find_model("gpt-6-luna", MODELS)["image"], "high") == tokens


def test_a_price_counts_each_kind_of_token_once():
    model = find_model("gpt-5-nano-2025-08-07", MODELS)
    usage = Usage(input_tokens=3_000_000, cached_tokens=1_000_000, output_tokens=1_000_000)
    for factor in (1.0, 0.5):
        price = find_price(model, UNPRICED, factor=factor)
        assert price is not None and price.of(usage) == pytest.approx(factor * (2 * 0.05 + 0.005 + 0.40))
    price = Price(input=1.0, cached=0.1, output=8.0, cache_write=1.25, as_of="2026-01-01", source="a test")
    usage = Usage(input_tokens=1_000_000, cached_tokens=200_000, output_tokens=50_000, cache_writes=300_000)
    plain = 1_000_000 - 200_000 - 300_000
    expected = (plain * 1.0 + 200_000 * 0.1 + 300_000 * 1.25 + 50_000 * 8.0) / 1e6
    assert price.of(usage) == pytest.approx(expected)


def test_a_model_that_is_not_listed_has_no_price_or_the_one_given():
    new = find_model("new", MODELS)
    assert find_price(new, UNPRICED) is None
    given = find_price(new, {"input": 1.0, "cached": 0.1, "output": 4.0})
    assert given is not None and given.of(Usage(1_000_000, 0, 1_000_000)) == 5.0
    with pytest.raises(UserError, match=r"labeler\.price\.output"):
        find_price(new, {"input": 1.0, "cached": 0.1, "output": None})


def test_a_model_at_its_end(capsys):
    model = find_model("gpt-5-nano-2025-08-07", MODELS)
    check_served("gpt-5-nano", model, today=date(2026, 6, 1))
    assert not capsys.readouterr().err
    check_served("gpt-5-nano", model, today=date(2026, 12, 1))
    assert "will be shut down in 10 days" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"labeler\.model=gpt-6-luna"):
        check_served("gpt-5-nano", model, today=date(2026, 12, 11))


def test_every_listed_model_says_where_and_when_it_was_read():
    for model in MODELS:
        assert model["source"] and date.fromisoformat(str(model["as_of"]))
        assert model["image"]["kind"] in ("tiles", "patches")


@pytest.mark.parametrize(("width", "height"), [(32, 32), (33, 33), (1, 320), (65, 31), (100, 1)])
def test_a_patch_at_the_border_counts_as_one(width, height):
    rule = {"kind": "patches", "patch_px": 32, "multiplier": 1.0, "max_patches": None}
    corners = [(x, y) for x in range(0, width, 32) for y in range(0, height, 32)]
    assert image_tokens(width, height, rule, None) == len(corners)
    assert image_tokens(width, height, {**rule, "multiplier": 1.3}, None) == math.ceil(1.3 * len(corners))
