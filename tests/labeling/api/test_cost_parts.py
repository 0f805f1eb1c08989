"""Parts of a price and of a picture, at their edges."""

import math

import pytest

from style_match.labeling.answers import Price, Usage
from style_match.labeling.cost import image_tokens


def test_tokens_that_are_written_to_the_cache_are_paid_once_at_their_own_price():
    price = Price(input=1.0, cached=0.1, output=8.0, cache_write=1.25, as_of="2026-01-01", source="a test")
    usage = Usage(input_tokens=1_000_000, cached_tokens=200_000, output_tokens=50_000)
    plain = 1_000_000 - 200_000 - 300_000
    expected = (plain * 1.0 + 200_000 * 0.1 + 300_000 * 1.25 + 50_000 * 8.0) / 1e6
    assert price.of(usage, cache_writes=300_000, factor=1) == pytest.approx(expected)


@pytest.mark.parametrize(("width", "height"), [(32, 32), (33, 33), (1, 320), (65, 31), (100, 1)])
def test_a_patch_at_the_border_counts_whole(width, height):
    rule = {"kind": "patches", "patch_px": 32, "multiplier": 1.0, "max_patches": None}
    corners = [(x, y) for x in range(0, width, 32) for y in range(0, height, 32)]
    assert image_tokens(width, height, rule, None) == len(corners)
    assert image_tokens(width, height, {**rule, "multiplier": 1.3}, None) == math.ceil(1.3 * len(corners))
