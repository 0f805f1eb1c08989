"""Figures in one look, with a font that has Korean glyphs where there is one."""

import functools
import io
import re
import warnings
from pathlib import Path
from typing import Any

from style_match.utils.files import write_whole
from style_match.utils.progress import say

# One colour a model on every picture and page (`base.html.jinja`), from Okabe & Ito 2008.
MODEL_COLOURS = {"chance": "#8a949e", "frozen": "#b97f00", "trained": "#0072b2"}
# Of sides, classes and runs: Paul Tol's "muted" without its sand; also distinguishable with colour blindness.
COLOURS = ("#117733", "#AA4499", "#332288", "#CC6677", "#44AA99", "#999933", "#882255", "#88CCEE")
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "*")
INK = "#333333"

# For class names and ids in Korean, Japanese or Chinese, where one of these is installed.
_EAST_ASIAN = (
    *("Noto Sans CJK KR", "Noto Sans CJK JP", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo", "Malgun Gothic"),
    *("UnDotum", "Baekmuk Gulim", "Droid Sans Fallback", "WenQuanYi Zen Hei"),
)
_NO_GLYPH = re.compile(r"Glyph \d+ .*missing from font")


def figure(*, width: float, height: float) -> Any:
    """An empty matplotlib figure, size in inches, that belongs to no interactive backend."""
    from matplotlib import font_manager, rcParams
    from matplotlib.figure import Figure

    installed = set(font_manager.get_font_names())
    rcParams["font.family"] = ["DejaVu Sans", *(font for font in _EAST_ASIAN if font in installed)]
    return Figure(figsize=(width, height), layout="constrained", facecolor="white")


def png(drawing: Any, *, dpi: int) -> bytes:
    """PNG of a figure; the same figure gives the same bytes (no date, no version inside)."""
    content = io.BytesIO()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        drawing.savefig(content, format="png", dpi=dpi, metadata={"Software": None})
    for warning in caught:
        if _NO_GLYPH.match(str(warning.message)):
            _say_no_font()
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return content.getvalue()


@functools.cache
def _say_no_font() -> None:
    """Name the remedy, once in a process."""
    say(
        "pictures: no installed font has some of the characters, which show as boxes. Install one that has them, such "
        "as Noto Sans CJK (on Debian: apt-get install fonts-noto-cjk)."
    )


def save(drawing: Any, path: Path, *, dpi: int) -> None:
    write_whole(path, png(drawing, dpi=dpi))
