"""Prices of models, tokens of images, and dates when models are shut down."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from style_match.labeling.answers import Usage
from style_match.utils.errors import UserError
from style_match.utils.progress import say

WARN_DAYS = 30  # before a model is shut down
UNLISTED_IMAGE = {"kind": "patches", "patch_px": 32, "multiplier": 1.0, "max_patches": None}  # rule of unlisted models


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens on one day; `cache_write` is for input that the provider stores for reuse."""

    input: float
    cached: float
    output: float
    cache_write: float
    as_of: str
    source: str

    def of(self, usage: Usage, *, cache_writes: int, factor: float) -> float:
        """Return the cost of a request in US dollars; `cache_writes` are part of `usage.input_tokens`."""
        plain = usage.input_tokens - usage.cached_tokens - cache_writes
        dollars = plain * self.input + usage.cached_tokens * self.cached
        dollars += cache_writes * self.cache_write + usage.output_tokens * self.output
        return factor * dollars / 1e6


@dataclass(frozen=True)
class Model:
    """A model of the API; models that are not listed have no price.

    Attributes:
        image: rule of its image tokens, see `image_tokens`.
        effort: default of its reasoning effort; None sends none.
    """

    name: str
    price: Price | None
    image: Mapping[str, Any]
    effort: str | None


def find_model(name: str, models: Sequence[Mapping[str, Any]], *, price: Mapping[str, float | None]) -> Model:
    """Look up a model or a dated snapshot of it (`NAME-2025-08-07`).

    Args:
        models: `labeler.models`.
        price: `labeler.price`; overrides the listed price.

    Raises:
        UserError: Only a part of the price is given.
    """
    entry = _find(name, models)
    given = {key: value for key, value in price.items() if value is not None}
    if given and len(given) < len(price):
        missing = ", ".join(f"labeler.price.{key}" for key in price if key not in given)
        raise UserError(f"A price needs all of its parts. Set {missing}, too (US dollars per million tokens).")
    known = None
    if given:
        known = Price(**given, cache_write=given["input"], as_of="now", source="labeler.price")
    elif entry:
        listed = entry["price"]
        known = Price(**{"cache_write": listed["input"], **listed}, as_of=str(entry["as_of"]), source=entry["source"])
    return Model(name, known, entry["image"] if entry else UNLISTED_IMAGE, entry["effort"] if entry else None)


def check_served(name: str, models: Sequence[Mapping[str, Any]], *, today: date) -> None:
    """Warn if a model is about to be shut down.

    Raises:
        UserError: The model is shut down.
    """
    entry = _find(name, models)
    if entry is None or entry["retires"] is None:
        return
    retires = date.fromisoformat(str(entry["retires"]))
    instead = f"labeler.model={entry['replacement']}" if entry["replacement"] else "another labeler.model"
    source = f"according to {entry['source']}, read on {entry['as_of']}"
    if today >= retires:
        raise UserError(f"labeler.model={name} was shut down on {retires} {source}. Use {instead}.")
    if (retires - today).days <= WARN_DAYS:
        say(f"{name} will be shut down in {(retires - today).days} days, on {retires}, {source}. Then use {instead}.")


def image_tokens(width: int, height: int, rule: Mapping[str, Any], detail: str | None) -> int:
    """Count the input tokens of an image.

    Args:
        width, height: in pixels.
        rule: `patches`: squares of `patch_px`, at most `max_patches` (larger images are reduced), times `multiplier`,
            for any detail; or `tiles`: the image is fitted into `fit_px` and its short side into `short_px`, and costs
            `base` plus `tile` for each square of `tile_px`, or only `base` with detail "low".
        detail: `labeler.detail`.
    """
    if rule["kind"] == "patches":
        return math.ceil(_patches(width, height, rule["patch_px"], rule["max_patches"]) * rule["multiplier"])
    if detail == "low":
        return int(rule["base"])
    shrink = min(1.0, rule["fit_px"] / max(width, height))
    shrink *= min(1.0, rule["short_px"] / (shrink * min(width, height)))
    tiles = math.ceil(round(width * shrink) / rule["tile_px"]) * math.ceil(round(height * shrink) / rule["tile_px"])
    return int(rule["base"] + rule["tile"] * tiles)


def _patches(width: int, height: int, side: int, most: int | None) -> int:
    patches = math.ceil(width / side) * math.ceil(height / side)
    if most is None or patches <= most:
        return patches
    shrink = math.sqrt(most * side**2 / (width * height))
    wide, high = width * shrink / side, height * shrink / side
    fit = min(math.floor(wide) / wide, math.floor(high) / high)  # one side becomes an integer number of patches
    return math.ceil(round(wide * fit, 6)) * math.ceil(round(high * fit, 6))


def _find(name: str, models: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return next((each for each in models if name == each["name"] or _is_snapshot(name, each["name"])), None)


def _is_snapshot(name: str, of: str) -> bool:
    suffix = name.removeprefix(f"{of}-")
    return suffix != name and suffix[:2] == "20" and suffix.replace("-", "").isdigit()
