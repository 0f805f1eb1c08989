"""Visible attributes of a drawing as training targets, and the linear layer that predicts them from a feature.

The style class is no attribute, so that its name never reaches the backbone.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from style_match.synthetic import captions
from style_match.synthetic.world import SCENES, SHOT_TYPES, VISUAL_QUALITIES, Look

HUES = [english for english, _ in captions.HUE]
TONES = list(captions.TONE)
CLASSES: dict[str, Sequence] = {
    "person": ("f", "m"),
    "shot": SHOT_TYPES,
    "quality": VISUAL_QUALITIES,
    "top": tuple(captions.TOP),
    "bottom": (None, *captions.BOTTOM),
    "hue": HUES,
    "tone": TONES,
    "headwear": ("", "beanie", "cap", "bucket", "band", "fedora"),
    "eyewear": ("", "sun", "round"),
    "scene": SCENES,
    "light": tuple(captions.LIGHT),
    "warmth": tuple(captions.WARMTH),
    "hair": (None, *captions.HAIR),
    "hair_colour": range(len(captions.HAIR_COLOUR)),
    "skin": range(len(captions.SKIN)),
}
FLAGS = tuple(part for part in captions.ACCESSORY if part not in (*CLASSES["headwear"], *CLASSES["eyewear"]))
WEIGHTS = {"top": 3.0, "bottom": 2.0, "hue": 1.5, "tone": 1.5, "flags": 3.0, "colours": 10.0}  # others: 1
INVISIBLE = -1


class Targets(NamedTuple):
    """Attributes of N drawings.

    `classes` (N, attributes) has indices into `CLASSES`, `flags` (N, accessories) is 0 or 1, `colours` (N, 6) has the
    RGB of top and bottom garment in 0..1. Invisible values are -1.
    """

    classes: Tensor
    flags: Tensor
    colours: Tensor

    def rows(self, indices: Tensor) -> "Targets":
        return Targets(*(tensor[indices] for tensor in self))


def targets(looks: Sequence[Look]) -> Targets:
    """Return the attributes of looks."""
    classes, flags, colours = [], [], []
    for look in looks:
        values = _values(look)
        classes.append([_index(name, values[name]) for name in CLASSES])
        visible = captions.visible_accessories(look)
        flags.append([float(part in visible) for part in FLAGS])
        bottom = look.bottom_colour if values["bottom"] else (-255,) * 3
        colours.append([channel / 255 for channel in (*look.top_colour, *bottom)])
    return Targets(torch.tensor(classes), torch.tensor(flags), torch.tensor(colours))


def _index(name: str, value: object) -> int:
    return INVISIBLE if name == "hair_colour" and value is None else CLASSES[name].index(value)


def _values(look: Look) -> dict[str, object]:
    *tone, hue = captions.colour_words(look.top_colour)[0].split()
    hair = captions.visible_hair(look)
    return {
        "person": look.gender,
        "shot": look.shot_type,
        "quality": look.visual_quality,
        "top": captions.visible_top(look),
        "bottom": captions.visible_bottom(look),
        "hue": hue,
        "tone": tone[0] if tone else "middle",
        "headwear": look.headwear,
        "eyewear": look.eyewear,
        "scene": look.scene,
        "light": captions.light_level(look),
        "warmth": captions.warmth_level(look),
        "hair": hair,
        "hair_colour": look.hair_colour if hair else None,
        "skin": look.skin,
    }


class AttributeHead(nn.Module):
    """Linear prediction of all attributes.

    Args:
        dim: Feature dimension D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.sizes = [len(options) for options in CLASSES.values()] + [len(FLAGS), 6]
        self.linear = nn.Linear(dim, sum(self.sizes))

    def forward(self, features_BD: Tensor) -> tuple[Tensor, ...]:
        """Return logits of each class attribute and of the flags, and the colours."""
        return self.linear(self.norm(features_BD)).split(self.sizes, dim=1)

    def loss(self, features_BD: Tensor, target: Targets) -> Tensor:
        """Return the weighted mean loss: cross-entropy of classes and flags, squared error of colours."""
        *classes, flags, colours = self(features_BD)
        losses = {
            name: F.cross_entropy(logits, target.classes[:, column], ignore_index=INVISIBLE)
            for column, (name, logits) in enumerate(zip(CLASSES, classes, strict=True))
        }
        losses["flags"] = F.binary_cross_entropy_with_logits(flags, target.flags)
        losses["colours"] = F.mse_loss(colours[target.colours >= 0], target.colours[target.colours >= 0])
        weights = [WEIGHTS.get(name, 1.0) for name in losses]
        return sum(weight * loss for weight, loss in zip(weights, losses.values(), strict=True)) / sum(weights)

    def accuracies(self, features_BD: Tensor, target: Targets) -> dict[str, float]:
        """Return the share of visible values that are predicted, for each class attribute and the flags."""
        *classes, flags, _ = self(features_BD)
        shares = {}
        for column, (name, logits) in enumerate(zip(CLASSES, classes, strict=True)):
            true = target.classes[:, column]
            shares[name] = (logits.argmax(1) == true)[true >= 0].float().mean().item()
        shares["flags"] = ((flags > 0) == target.flags.bool()).float().mean().item()
        return shares
