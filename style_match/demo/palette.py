"""Colours of the drawn figures."""

import colorsys

RGB = tuple[int, int, int]
Colour = str | RGB

SKIN_TONES = ("#f6d7c3", "#eabf9f", "#d9a57c", "#b97f56", "#8d5a3b", "#623c28")
HAIR_COLOURS = ("#1f1a17", "#3b2a20", "#5d3d26", "#8a5a32", "#c9a063", "#a34a28", "#7a7a7d")
DARK_SHOE = "#2a2626"
DARK_SHIRT = "#26262a"


def hsv(hue: float, saturation: float, value: float) -> RGB:
    """RGB in 0..255; the hue wraps around at 1, saturation and value are clipped to 0..1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return int(red * 255), int(green * 255), int(blue * 255)


def rgb(colour: Colour) -> RGB:
    """RGB in 0..255 of a `#rrggbb` string or of a tuple."""
    if isinstance(colour, str):
        return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
    return colour


def shade(colour: Colour, factor: float) -> RGB:
    """Darken (`factor` below 1, to black at 0) or lighten (above 1, to white at 2)."""
    if factor <= 1:
        red, green, blue = (int(max(0, channel * factor)) for channel in rgb(colour))
    else:
        red, green, blue = (int(channel + (255 - channel) * (factor - 1)) for channel in rgb(colour))
    return red, green, blue
