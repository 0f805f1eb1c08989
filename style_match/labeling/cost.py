"""What a model's tokens cost: how many a picture is, what a million of them is, until when the model is served."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from style_match.labeling.answers import Price
from style_match.utils.errors import UserError
from style_match.utils.progress import say


@dataclass(frozen=True)
class Model:
    """What is known of a model; a model that no list has is used as well, without a price.

    Attributes:
        image: the rule of its image tokens, see `image_tokens`.
        effort: of its reasoning, where none is asked for; None where nothing may be said about it.
    """

    name: str
    price: Price | None
    image: Mapping[str, Any]
    effort: str | None


def find_model(
    name: str, models: Sequence[Mapping[str, Any]], *, price: Mapping[str, float | None], image: Mapping[str, Any]
) -> Model:
    """The model called `name` (or a dated snapshot of it, `name-2025-08-07`).

    Args:
        models: the list of the YAML.
        price: `labeler.price`; where it has values, they replace those of the list.
        image: the rule for a model that the list lacks.

    Raises:
        UserError: the price is given in part.
    """
    entry = next((each for each in models if name == each["name"] or _is_snapshot(name, each["name"])), None)
    given = {key: value for key, value in price.items() if value is not None}
    if given and len(given) < len(price):
        lacking = ", ".join(f"labeler.price.{key}" for key in price if key not in given)
        raise UserError(f"A price needs all of its parts; give {lacking} too (US dollars per million tokens).")
    known = None
    if given:
        known = Price(**given, cache_write=given["input"], as_of="now", source="labeler.price")
    elif entry:
        listed = entry["price"]
        known = Price(**{"cache_write": listed["input"], **listed}, as_of=str(entry["as_of"]), source=entry["source"])
    return Model(name, known, entry["image"] if entry else image, entry["effort"] if entry else None)


def check_served(name: str, models: Sequence[Mapping[str, Any]], *, warn_days: int, today: date) -> None:
    """Say where a model ends soon.

    Raises:
        UserError: it is not served any more.
    """
    entry = next((each for each in models if name == each["name"] or _is_snapshot(name, each["name"])), None)
    if entry is None or entry["retires"] is None:
        return
    retires = date.fromisoformat(str(entry["retires"]))
    instead = f"labeler.model={entry['replacement']}" if entry["replacement"] else "another labeler.model"
    known = f"according to {entry['source']}, read on {entry['as_of']}"
    if today >= retires:
        raise UserError(f"labeler.model={name} was shut down on {retires} {known}: write {instead}.")
    if (retires - today).days <= warn_days:
        say(f"{name} is shut down in {(retires - today).days} days, on {retires}, {known}; after that {instead}.")


def image_tokens(width: int, height: int, rule: Mapping[str, Any], detail: str | None) -> int:
    """Input tokens of a picture of so many pixels.

    The rule is either `patches`: squares of `patch_px`, at most `max_patches` (a larger picture is made smaller), times
    `multiplier`, whatever the detail; or `tiles`: a picture is fitted into `fit_px`, its short side into `short_px`,
    and costs `base` and `tile` for each square of `tile_px`, or `base` alone with detail "low".
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
    fit = min(math.floor(wide) / wide, math.floor(high) / high)  # so that one side is whole patches
    return math.ceil(round(wide * fit, 6)) * math.ceil(round(high * fit, 6))


def _is_snapshot(name: str, of: str) -> bool:
    rest = name.removeprefix(f"{of}-")
    return rest != name and rest[:2] == "20" and rest.replace("-", "").isdigit()
