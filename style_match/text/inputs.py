"""Features of texts, through the feature store as those of photos."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from style_match.data.image import DECODE_POLICY
from style_match.features.identity import Checkpoint, row_address
from style_match.inputs import Inputs, own_poolings
from style_match.prompt import refuse_control_tokens, render

if TYPE_CHECKING:
    from torch import Tensor

    from style_match.backbone.qwen3_vl import Qwen3VL


class TextInputs(Inputs):
    """Texts through the backbone of a run's (or a matcher's) inputs, each alone in a prompt.

    Args:
        inputs: whose backbone and store folder are used.
        text: a group of `conf/text`.
        pooling: names of this package's poolings that are joined; None for `text.pooling`.
    """

    def __init__(self, inputs: Inputs, text: DictConfig, *, pooling: Sequence[str] | None = None):
        super().__init__(inputs.cfg)
        self.base, self.text = inputs, text
        self.cfg = OmegaConf.merge(inputs.cfg, {"prompt": {"image": False, "metadata": False}})  # type: ignore[assignment]
        self.names = tuple(pooling or text.pooling)

    @cached_property
    def poolings(self) -> dict[str, Callable]:
        return {name: each for name, each in own_poolings().items() if name != "mean_image"}

    @cached_property
    def pooling(self) -> dict[str, Callable]:
        return {name: self.poolings[name] for name in self.names}

    @cached_property
    def checkpoint(self) -> Checkpoint:
        return self.base.checkpoint

    @cached_property
    def backbone(self) -> "Qwen3VL":
        return self.base.backbone

    def prompt(self, text: str) -> str:
        """The prompt that holds one text; UserError where a control token stands in it."""
        return text_prompt(text, self.text)

    def of(self, texts: Sequence[str], owners: Sequence[str], what: str) -> "Tensor":
        """(N, D) float32 features of texts, from the store; `owners` (N,) are `owner_of` the profile of each."""
        from style_match.features.batching import Row

        prompts = map(self.prompt, texts)
        rows = [
            Row(row_address(None, DECODE_POLICY, prompt), None, prompt, 0, 0, owner=owner)
            for prompt, owner in zip(prompts, owners, strict=True)
        ]
        return self._embedded(rows, what)


def text_prompt(text: str, options: DictConfig) -> str:
    """A text in the prompt of `conf/text`; line ends and runs of spaces become one space.

    Raises:
        UserError: a control token stands in it.
    """
    line = " ".join(text.split())
    refuse_control_tokens(line, f"The text {line!r}")
    return render(
        image=False, metadata=None, system=options.system, instruction=line, template=options.template, leave_out=()
    )
