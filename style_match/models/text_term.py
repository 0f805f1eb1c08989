"""The loss between photos and their texts, beside the main loss: InfoNCE in both directions, as in CLIP (A. Radford
et al., arXiv:2103.00020).
"""

from typing import Any

import torch
from torch import Tensor, nn

from style_match.data.texts import groups
from style_match.models.head.ensemble import joined, members
from style_match.models.loss.infonce import InfoNCE
from style_match.models.loss.pairs import LossOutput
from style_match.utils.errors import UserError


class TextTerm(nn.Module):
    """A head for texts, or the photos' own, and the loss between photos and their texts.

    Args:
        weight: Of the term beside the main loss.
        temperature: Of its InfoNCE.
        head: Features (B, D) of texts to embeddings (B, E); None if they go through the photos' head.
    """

    def __init__(self, *, weight: float, temperature: float, head: nn.Module | None):
        super().__init__()
        self.weight, self.head = weight, head
        self.loss = InfoNCE(temperature=temperature, symmetric=True)

    def embed(
        self, photo_head: Any, features: Tensor, side: Tensor | None, texts: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """Return the embeddings of photos by each member of their head, and (B, E) those of texts.

        A shared head gets both in one batch, because its BatchNorm serves both later.
        """
        if self.head is not None:
            return members(photo_head, features, side), self.head(texts)
        both = members(photo_head, torch.cat([features, texts]), None)
        return [each[: len(features)] for each in both], joined([each[len(features) :] for each in both])

    def compare(self, photos: Tensor, texts: Tensor, numbers: Tensor, people: Tensor) -> LossOutput:
        """Return the loss in float32, also under mixed precision. Rows with the same text or person are no negatives.

        Args:
            photos: (B, E) embeddings of photos.
            texts: (B, E) embeddings of their texts.
            numbers: (B,) numbers of the texts.
            people: (B,) numbers of the people on the photos.

        Raises:
            UserError: All rows of the batch share one text or person.
        """
        labels = groups(numbers, people)
        side = torch.arange(2).repeat_interleave(len(labels))
        with torch.autocast(photos.device.type, enabled=False):
            return self.loss(torch.cat([photos.float(), texts.float()]), labels.repeat(2), side)


def width(head: nn.Module) -> int:
    """Return E of a head; UserError if the head has no `dim`."""
    dim = getattr(head, "dim", None)
    if not isinstance(dim, int):
        raise UserError(
            f"{type(head).__name__} has no attribute `dim`, the width of its embeddings, which text search needs. Set "
            "it in the head's constructor."
        )
    return dim
