"""The frozen backbone inside the training step (encode=online)."""

from typing import Any

from torch import Tensor, nn

from style_match.backbone.inputs import Inputs


class OnlineBackbone(nn.Module):
    """Turns the rows of a batch into features (B, D) on the spot.

    Args:
        inputs: Of the run; its backbone is loaded when the first batch comes.
    """

    def __init__(self, inputs: Inputs):
        super().__init__()
        self.inputs = inputs

    def forward(self, batch: dict[str, Any]) -> Tensor:
        return self.inputs.encode_online(batch)
