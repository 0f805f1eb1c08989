"""Qwen3-VL as a frozen extractor of features (Qwen3-VL technical report, arXiv:2511.21631).

The same code loads the tiny checkpoint of this package, the released ones and any local folder of the architecture.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as transformers_logging

from style_match.backbone.checkpoint import check_checkpoint, resolve_dtype
from style_match.backbone.processor import Patches, Preprocessor
from style_match.utils.distributed import launched
from style_match.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")

Pooling = Callable[[Tensor, Tensor, Tensor], Tensor]


def resolve_device(device: str) -> torch.device:
    """`auto` is the GPU where there is one, else the CPU; processes that a launcher started take the GPUs in turn, if
    none is named.

    Raises:
        UserError: no such device here.
    """
    if device == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    if device in ("auto", "cuda") and torch.cuda.is_available():
        started = launched()  # which may have given each process a GPU of its own: then there is one to take
        return torch.device("cuda", started.local_rank % torch.cuda.device_count()) if started else torch.device("cuda")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"backbone.device={device} is not known; take auto, cpu, cuda or cuda:1.") from error
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise UserError(f"backbone.device={device}: there is no such GPU here. Take backbone.device=cpu or auto.")
    return resolved


class Qwen3VL:
    """Turns photos and prompts into hidden states and features. No gradient, no vocabulary logits, eval mode.

    It is no `nn.Module`, so that a module that holds it neither trains nor saves it.

    Args:
        folder: checkpoint folder in the hub's format.
        dtype: "auto", "fp32", "bf16" or "fp16".
        attention: "sdpa", "eager" or "flash_attention_2".
        fused_patch_embedding: embed patches by a matrix product; the checkpoint's 3-d convolution over patches that do
            not overlap is the same sum, and slow with some releases of torch and some GPUs.
        image_backend, min_pixels, max_pixels, padding_side: see `Preprocessor`.
        device: "auto", "cpu", "cuda", ...
        layer: number of decoder layers to run before the final norm, all if None.

    Raises:
        UserError: the folder is not a whole Qwen3-VL checkpoint, or an option does not fit it.
    """

    def __init__(
        self,
        *,
        folder: Path,
        dtype: str,
        attention: str,
        fused_patch_embedding: bool,
        image_backend: str,
        min_pixels: int | None,
        max_pixels: int | None,
        device: str,
        layer: int | None,
        padding_side: str = "right",
    ):
        folder = Path(folder)
        check_checkpoint(folder)
        self.device = resolve_device(device)
        self.dtype = TORCH_DTYPES[resolve_dtype(dtype, self.device.type)]
        with _quiet_transformers():
            config = _config(folder)
            self.preprocessor = Preprocessor(
                folder=folder,
                config=config,
                image_backend=image_backend,
                min_pixels=min_pixels,
                max_pixels=max_pixels,
                padding_side=padding_side,
            )
            self.model = _load(folder, config, self.dtype, attention)
        if layer is not None:
            _cut(self.model, layer)
        if fused_patch_embedding:
            self.model.visual.patch_embed = _LinearPatchEmbedding(self.model.visual.patch_embed.proj)
        self.model.eval().requires_grad_(False).to(self.device)
        self.dim: int = self.model.config.text_config.hidden_size

    def num_tokens(self, prompt: str, width: int, height: int) -> int:
        """Tokens of a prompt with a photo of `width` x `height` pixels (any, where it has none)."""
        return self.preprocessor.num_tokens(prompt, width, height)

    def preprocess(self, images: Sequence["Image | None"], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Inputs of B prompts on the CPU, in the model's precision; may be called from many threads at once."""
        return self.collate([self.patchify(image) for image in images], prompts)

    def patchify(self, image: "Image | None") -> Patches | None:
        """One photo for `collate`, see `Preprocessor`, in the model's precision; from many threads at once."""
        photo = self.preprocessor.patchify(image)
        # The patch embedding rounds so in any case; here it halves what waits for the model and moves to its device.
        return photo if photo is None else photo._replace(pixels=photo.pixels.to(self.dtype))

    def collate(self, photos: Sequence[Patches | None], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Inputs of B prompts on the CPU, see `Preprocessor`."""
        return self.preprocessor.collate(photos, prompts)

    def hidden(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Hidden states (B, T, D) after the last layer and the final norm."""
        # Autocast is for the head: under a trainer's mixed precision the frozen features must stay what is stored.
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            on_device = {name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()}
            return self.model(**on_device, use_cache=False).last_hidden_state

    def pool(self, inputs: Mapping[str, Tensor], poolings: Mapping[str, Pooling]) -> dict[str, Tensor]:
        """One forward pass, then every pooling: name -> features (B, D) float32, fit for a trained head to take."""
        h_BTD = self.hidden(inputs)
        attention_BT = inputs["attention_mask"].to(self.device).bool()
        image_BT = (inputs["input_ids"] == self.preprocessor.image_token_id).to(self.device)
        with torch.inference_mode():
            pooled = {name: pooling(h_BTD, attention_BT, image_BT) for name, pooling in poolings.items()}
        for name, features in pooled.items():
            if features.shape != (len(h_BTD), self.dim):
                raise ValueError(
                    f"pooling {name} returned the shape {tuple(features.shape)}, not {(len(h_BTD), self.dim)}"
                )
        # A copy outside inference mode, since autograd refuses to save inference tensors for the head's backward pass.
        return {name: features.float().clone() for name, features in pooled.items()}

    def pooled(
        self, images: Sequence["Image | None"], prompts: Sequence[str], poolings: Mapping[str, Pooling]
    ) -> dict[str, Tensor]:
        """Features of B photos (None: no photo) with their prompts: pooling -> (B, D) float32."""
        return self.pool(self.preprocess(images, prompts), poolings)


class _LinearPatchEmbedding(nn.Module):
    """A convolution whose stride is its kernel, over patches that come flattened: (num_patches, patch_dim)."""

    def __init__(self, convolution: nn.Conv3d):
        super().__init__()
        self.weight = nn.Parameter(convolution.weight.detach().flatten(1))
        self.bias = nn.Parameter(convolution.bias.detach()) if convolution.bias is not None else None

    def forward(self, patches: Tensor) -> Tensor:
        return F.linear(patches.to(self.weight.dtype), self.weight, self.bias)


def feature_dim(folder: Path) -> int:
    """Width D of the features that a checkpoint folder gives."""
    with _quiet_transformers():
        return _config(folder).text_config.hidden_size


def _config(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever the library's validation raises
        raise UserError(f"{folder / 'config.json'} is not a config of Qwen3-VL: {error}") from error
    # Fusions that a config asks for would replace classes of the library for every later model of the process.
    config.fusion_config = None
    return config


def _load(folder: Path, config: Any, dtype: torch.dtype, attention: str) -> Any:
    if attention not in ATTENTIONS:
        raise UserError(f"backbone.attention={attention} is not known; take one of {', '.join(ATTENTIONS)}.")
    try:
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # so that they come back in the report, where they are refused
            output_loading_info=True,
        )
    except ImportError as error:
        raise UserError(f"backbone.attention={attention} cannot be used here: {error}") from error
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(f"The checkpoint {folder} cannot be loaded: {error}") from error
    if report["mismatched_keys"]:
        name, found, expected = sorted(report["mismatched_keys"])[0]
        raise UserError(
            f"The weights in {folder} do not have the sizes of its config.json: {name} is {tuple(found)}, expected "
            f"{tuple(expected)} ({len(report['mismatched_keys'])} such tensors)."
        )
    if report["missing_keys"]:  # transformers would draw them at random
        names = sorted(report["missing_keys"])
        raise UserError(f"The weights in {folder} lack {len(names)} tensors of the model, such as {names[0]}.")
    return model


def _cut(model: Any, layer: int) -> None:
    layers = model.language_model.layers
    # Image features of the vision layers ("deepstack") are added after the first decoder layers; none may be dropped.
    least = len(model.visual.deepstack_visual_indexes)
    if not least <= layer <= len(layers):
        raise UserError(f"backbone.layer={layer} must be between {least} and {len(layers)} for this checkpoint.")
    model.language_model.layers = layers[:layer]


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide the library's bars and its table of tensors that were not used (the vocabulary head)."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
