"""The loss between photos and their texts, beside the main loss: InfoNCE in both directions, as in CLIP (A. Radford
et al., arXiv:2103.00020).
"""

from typing import Any

import torch
from torch import Tensor, nn

from style_match.data.texts import groups
from style_match.models.loss.infonce import InfoNCE
from style_match.models.loss.pairs import LossOutput
from style_match.utils.errors import UserError


class TextTerm(nn.Module):
    """A head for texts, or the photos' own, and the loss between photos and their texts.

    Args:
        weight: of the term beside the main loss.
        temperature: of its InfoNCE.
        head: features (B, D) of texts to embeddings (B, E); None: they go through the photos' head.
    """

    def __init__(self, *, weight: float, temperature: float, head: nn.Module | None):
        super().__init__()
        self.weight, self.head = weight, head
        self.loss = InfoNCE(temperature=temperature, symmetric=True)

    def embed(
        self, photo_head: Any, features: Tensor, side: Tensor | None, texts: Tensor
    ) -> tuple[list[Tensor], Tensor]:
        """The embeddings of photos by each member of their head, and (B, E) those of texts.

        Under a shared head BatchNorm sees both together, as its statistics serve both afterwards.
        """
        if self.head is not None:
            return members(photo_head, features, side), self.head(texts)
        both = members(photo_head, torch.cat([features, texts]), None)
        return [each[: len(features)] for each in both], joined([each[len(features) :] for each in both])

    def compare(self, photos: Tensor, texts: Tensor, numbers: Tensor, people: Tensor) -> LossOutput:
        """The loss of embeddings (B, E) of photos and of their texts; `numbers` and `people` (B,) tell which texts
        and whose photos they are. What has the same text or person is no negative.

        Raises:
            UserError: all rows of the batch share one text or person.
        """
        labels = groups(numbers, people)
        side = torch.arange(2).repeat_interleave(len(labels))
        return self.loss(torch.cat([photos, texts]).float(), labels.repeat(2), side)


def members(head: Any, features: Tensor, side: Tensor | None) -> list[Tensor]:
    """The embeddings by each member of an ensemble, or by the one head."""
    return head.members(features, side) if hasattr(head, "members") else [head(features, side)]


def joined(embeddings: list[Tensor]) -> Tensor:
    """The members' embeddings as the ensemble gives them."""
    return torch.cat(embeddings, dim=1) / len(embeddings) ** 0.5


def width(head: nn.Module) -> int:
    """E of a head; UserError where it does not tell."""
    dim = getattr(head, "dim", None)
    if not isinstance(dim, int):
        raise UserError(
            f"{type(head).__name__} has no attribute `dim`, the width of its embeddings, which text search needs. Set "
            "it in the head's constructor."
        )
    return dim
