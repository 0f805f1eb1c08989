"""Prices of models, tokens of images, and dates when models are shut down."""

import math
import re
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
    """US dollars per million tokens on one day; `factor` is that of a batch."""

    input: float
    cached: float
    output: float
    cache_write: float
    as_of: str
    source: str
    factor: float = 1.0

    def of(self, usage: Usage) -> float:
        """Return the cost of a request in US dollars."""
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_writes
        dollars = plain * self.input + usage.cached_tokens * self.cached
        dollars += usage.cache_writes * self.cache_write + usage.output_tokens * self.output
        return self.factor * dollars / 1e6


def find_model(name: str, models: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the entry of `labeler.models` for a model or its dated snapshot (`NAME-2025-08-07`); {} if unlisted."""
    snapshot_of = re.sub(r"-20[\d-]+$", "", name)
    return next((each for each in models if each["name"] in (name, snapshot_of)), {})


def find_price(model: Mapping[str, Any], given: Mapping[str, float | None], *, factor: float = 1.0) -> Price | None:
    """Return the price of a model, or None if it is unknown.

    Args:
        model: from `find_model`.
        given: `labeler.price`; overrides the listed price.

    Raises:
        UserError: Only a part of the price is given.
    """
    known = {kind: dollars for kind, dollars in given.items() if dollars is not None}
    if known and len(known) < len(given):
        missing = ", ".join(f"labeler.price.{kind}" for kind in given if kind not in known)
        raise UserError(f"A price needs all of its parts. Set {missing}, too (US dollars per million tokens).")
    as_of, source = ("now", "labeler.price") if known else (str(model.get("as_of")), model.get("source", ""))
    if not (prices := known or model.get("price")):
        return None
    return Price(**{"cache_write": prices["input"], **prices}, as_of=as_of, source=source, factor=factor)


def check_served(name: str, model: Mapping[str, Any], *, today: date) -> None:
    """Warn if a model is about to be shut down.

    Args:
        model: from `find_model`.

    Raises:
        UserError: The model is shut down.
    """
    if not model.get("retires"):
        return
    retires = date.fromisoformat(str(model["retires"]))
    instead = f"labeler.model={model['replacement']}" if model["replacement"] else "another labeler.model"
    source = f"according to {model['source']}, read on {model['as_of']}"
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
