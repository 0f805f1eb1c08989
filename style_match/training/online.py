"""The frozen backbone in the training step (encode=online)."""

from typing import Any

from torch import Tensor, nn

from style_match.backbone.inputs import Inputs


class OnlineBackbone(nn.Module):
    """Computes the features (B, D) of the rows of a batch.

    Args:
        inputs: Of the run. Their backbone is loaded with the first batch, so DDP sends only their config to another
            process.
    """

    def __init__(self, inputs: Inputs):
        super().__init__()
        self.inputs = inputs

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.inputs.encode_online(batch)
