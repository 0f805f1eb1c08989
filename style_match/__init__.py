"""Matches profile photos: frozen Qwen3-VL features, a small trained head, cosine similarity."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from style_match.serving.matcher import StyleMatcher

__all__ = ["StyleMatcher"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`StyleMatcher`, imported when it is asked for: help and mistakes are answered without it."""
    if name == "StyleMatcher":
        from style_match.serving.matcher import StyleMatcher

        return StyleMatcher
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
