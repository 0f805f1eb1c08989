"""The texts that a training step sees: one for each photo of the batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from style_match.utils.graph import connected


@dataclass(frozen=True)
class Texts:
    """Distinct texts and whose they are; shape suffixes: T texts, P photos, B batch, D feature width.

    Attributes:
        features: (T, D) of the distinct texts.
        whole: (P, K) long, the captions of each photo as rows of `features`; a photo with fewer repeats them.
        parts: (P, M) long, short texts drawn from them; M may be 0.
        part_share: Of the texts drawn that are parts.
    """

    features: Tensor
    whole: Tensor
    parts: Tensor
    part_share: float

    def draw(self, photos: Tensor, uniform: Tensor) -> Tensor:
        """Rows (B,) of `features`, one text of each of `photos` (B,), by the numbers `uniform` (B,) in [0, 1)."""
        share = self.part_share if self.parts.shape[1] else 0.0
        is_part = uniform < share
        within_part = uniform / share if share else uniform
        within_whole = (uniform - share) / (1 - share) if share < 1 else uniform
        part = self._at(self.parts, photos, within_part) if share else photos
        return torch.where(is_part, part, self._at(self.whole, photos, within_whole))

    @staticmethod
    def _at(table: Tensor, photos: Tensor, within: Tensor) -> Tensor:
        num = table.shape[1]
        return table[photos, (within.clamp(0, 1) * num).long().clamp(max=num - 1)]


def groups(texts: Tensor, people: Tensor) -> Tensor:
    """(B,) long: rows of one text or of one person have one number, as they are no negatives of each other.

    Args:
        texts: (B,) the text of each row.
        people: (B,) the person of each row.
    """
    said, who = texts.tolist(), people.tolist()
    number = connected((("text", text), ("person", person)) for text, person in zip(said, who, strict=True))
    return torch.tensor([number["text", text] for text in said])
