"""From the features of photos to the embeddings of profiles, for training, evaluation and serving."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from style_match.utils.errors import UserError


@torch.no_grad()
def embed(head: nn.Module, features: Tensor, photo_profile: Tensor, side: Tensor | None) -> Tensor:
    """Return (N, E) float32 embeddings of profiles: the mean over the photos of each, brought to unit length.

    Args:
        head: In eval mode.
        features: (P, D) of all their photos.
        photo_profile: (P,) long on the CPU, the position from 0 to N - 1 of each photo's profile.
        side: (P,) long, 0 for photos of left profiles, 1 for right ones; None if there are no sides.

    Raises:
        UserError: The head gives zero for a photo.
    """
    with torch.autocast(features.device.type, enabled=False):
        e_PE = head(features, side if side is None else side.to(features.device)).float()
    if num_zero := int((e_PE == 0).all(dim=1).sum()):
        raise UserError(
            f"The head gives zero for {num_zero} of {len(e_PE)} photos, which has no direction. Raise head.hidden_dim."
        )
    sum_NE = e_PE.new_zeros(int(photo_profile.max()) + 1, e_PE.shape[1])
    return functional.normalize(sum_NE.index_add_(0, photo_profile.to(e_PE.device), e_PE), dim=1)
