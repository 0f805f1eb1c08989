"""The trained head of a matcher folder, and whether a head tells the two sides of couples."""

from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load
from torch import nn

from style_match.errors import UserError
from style_match.matcher.folder import ABOUT, HEAD, MatcherFolder

PROBES = 8  # rows of noise that a head is tried with


def make_head(options: dict[str, Any], in_dim: int) -> nn.Module:
    """A head with the first weights that its options give."""
    return instantiate(OmegaConf.create(options))(in_dim=in_dim)


def load_head(folder: MatcherFolder) -> nn.Module:
    """The head with its trained weights, in eval mode on the CPU.

    Raises:
        UserError: weights and options are not of one head.
    """
    about = folder.about["head"]
    try:
        head = make_head(about["options"], about["in_dim"])
        head.load_state_dict(load((folder.path / HEAD).read_bytes()))
    except (SafetensorError, RuntimeError) as error:
        said = str(error).partition("\n")[0]
        raise UserError(
            f"{folder.path / HEAD} does not hold the head that {ABOUT} describes ({said}): export it again."
        ) from error
    return head.eval()


@torch.no_grad()
def tells_sides(head: nn.Module, in_dim: int) -> bool:
    """Whether a head in eval mode gives one photo other embeddings on the left than on the right."""
    noise = torch.randn(PROBES, in_dim, generator=torch.Generator().manual_seed(0))
    left, right = (head(noise, torch.full((PROBES,), side)) for side in (0, 1))
    return not torch.equal(left, right)
