"""Poolings: from the hidden states of a prompt's tokens to one feature.

Every pooling takes hidden states (B, T, D) of any precision, the attention mask (B, T) and the mask of image tokens
(B, T), both bool, and returns (B, D) float32. Padding may be on either side and have any content.

A new pooling is a function with these arguments and a YAML in `conf/pooling`. A composed pooling is a YAML with the
names of others as `parts`; it is joined from their stored features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from style_match.utils.errors import UserError


def eos(h_BTD: Tensor, attention_BT: Tensor, image_BT: Tensor) -> Tensor:
    """Return the last attended token, the `<|im_end|>` at the end of every prompt."""
    num_tokens = attention_BT.shape[1]
    last_B = num_tokens - 1 - attention_BT.flip(1).int().argmax(1)
    return h_BTD[torch.arange(len(h_BTD), device=h_BTD.device), last_B].float()


def mean(h_BTD: Tensor, attention_BT: Tensor, image_BT: Tensor) -> Tensor:
    """Return the mean over all attended tokens, summed in float32."""
    return _masked_mean(h_BTD, attention_BT)


def mean_image(h_BTD: Tensor, attention_BT: Tensor, image_BT: Tensor) -> Tensor:
    """Return the mean over the image tokens. They precede the text and attention is causal, so text has no effect.

    Raises:
        UserError: A prompt has no image.
    """
    mask_BT = attention_BT & image_BT
    if not mask_BT.any(1).all():
        raise UserError(
            "pooling=mean_image requires an image, but the prompt has no image. Use prompt=image or "
            "prompt=image_metadata, or pooling=mean, mean_text or eos."
        )
    return _masked_mean(h_BTD, mask_BT)


def mean_text(h_BTD: Tensor, attention_BT: Tensor, image_BT: Tensor) -> Tensor:
    """Return the mean over all attended tokens except the image tokens: chat tokens, metadata and instruction."""
    return _masked_mean(h_BTD, attention_BT & ~image_BT)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """Return one pooling (B, D) unchanged; several are normalized and concatenated (B, D * parts)."""
    if len(parts) == 1:
        return parts[0]
    return torch.cat([functional.normalize(part, dim=1) for part in parts], dim=1)


def _masked_mean(h_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    # Masked, not multiplied: a padded position may be NaN, and 0 * NaN is NaN.
    total_BD = h_BTD.float().masked_fill(~mask_BT.unsqueeze(-1), 0.0).sum(1)
    return total_BD / mask_BT.sum(1, keepdim=True)
