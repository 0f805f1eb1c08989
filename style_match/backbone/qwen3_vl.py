"""Qwen3-VL as a frozen feature extractor (Qwen3-VL technical report, arXiv:2511.21631)."""

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
from style_match.backbone.processor import Patches, Processor
from style_match.utils.distributed import launched
from style_match.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

TORCH_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
ATTENTIONS = ("sdpa", "eager", "flash_attention_2")

Pooling = Callable[[Tensor, Tensor, Tensor], Tensor]


def resolve_device(device: str) -> torch.device:
    """Return the device of the backbone; `auto` is the GPU if there is one, else the CPU.

    Processes started by torchrun or srun take the GPUs of a machine in turn, unless one is named.

    Raises:
        UserError: There is no such device.
    """
    if device == "auto" and not torch.cuda.is_available():
        return torch.device("cpu")
    if device in ("auto", "cuda") and torch.cuda.is_available():
        process = launched()  # the launcher may also have assigned one visible GPU to each process
        return torch.device("cuda", process.local_rank % torch.cuda.device_count()) if process else torch.device("cuda")
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"backbone.device={device} is unknown. Use auto, cpu, cuda or cuda:1.") from error
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise UserError(f"backbone.device={device}: there is no such GPU. Use backbone.device=cpu or auto.")
    return resolved


class Qwen3VL(nn.Module):
    """Frozen Qwen3-VL without vocabulary logits: always in eval mode, no parameter requires a gradient.

    Args:
        folder: Checkpoint folder in the format of the hub.
        dtype: "auto", "fp32", "bf16" or "fp16".
        attention: "sdpa", "eager" or "flash_attention_2".
        fused_patch_embedding: Embed patches by a matrix product instead of the checkpoint's 3-d convolution, which is
            the same sum (patches do not overlap) but slow with some versions of torch and some GPUs.
        image_backend, min_pixels, max_pixels, padding_side: See `Processor`.
        device: "auto", "cpu", "cuda", ...
        layer: Number of decoder layers to run before the final norm; None for all.

    Attributes:
        dim: Feature dimension D.

    Raises:
        UserError: The folder is not a complete Qwen3-VL checkpoint, or an option does not fit it.
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
        super().__init__()
        folder = Path(folder)
        check_checkpoint(folder)
        resolved = resolve_device(device)
        torch_dtype = TORCH_DTYPES[resolve_dtype(dtype, resolved.type)]
        with _quiet_transformers():
            config = _config(folder)
            self.processor = Processor(
                folder=folder,
                config=config,
                image_backend=image_backend,
                min_pixels=min_pixels,
                max_pixels=max_pixels,
                padding_side=padding_side,
            )
            self.model = _load(folder, config, torch_dtype, attention)
        if layer is not None:
            _keep_layers(self.model, layer)
        if fused_patch_embedding:
            self.model.visual.patch_embed = _LinearPatchEmbedding(self.model.visual.patch_embed.proj)
        self.model.to(resolved)
        self.requires_grad_(False).eval()
        self.dim: int = self.model.config.text_config.hidden_size

    def train(self, mode: bool = True) -> "Qwen3VL":
        """Stay in eval mode, also when a module that contains the backbone is set to training mode."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        return next(self.model.parameters()).dtype

    def num_tokens(self, prompt: str, width: int, height: int) -> int:
        """Return the tokens of a prompt, including its photo of `width` x `height` pixels if it has one."""
        return self.processor.num_tokens(prompt, width, height)

    def preprocess(self, images: Sequence["Image | None"], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return the inputs of B prompts on the CPU, in the precision of the model; thread-safe."""
        return self.collate([self.patchify(image) for image in images], prompts)

    def patchify(self, image: "Image | None") -> Patches | None:
        """Return one photo for `collate` in the precision of the model; thread-safe. See `Processor`."""
        photo = self.processor.patchify(image)
        # The patch embedding rounds anyway; rounding here halves the memory of prepared batches and their transfer.
        return photo if photo is None else photo._replace(pixels=photo.pixels.to(self.dtype))

    def collate(self, photos: Sequence[Patches | None], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return the inputs of B prompts on the CPU. See `Processor`."""
        return self.processor.collate(photos, prompts)

    def hidden(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Return the hidden states (B, T, D) after the last layer and the final norm."""
        # Features must not depend on the mixed precision of a trainer, so autocast is switched off.
        with torch.inference_mode(), torch.autocast(self.device.type, enabled=False):
            on_device = {name: tensor.to(self.device, non_blocking=True) for name, tensor in inputs.items()}
            return self.model(**on_device, use_cache=False).last_hidden_state

    def pool(self, inputs: Mapping[str, Tensor], poolings: Mapping[str, Pooling]) -> dict[str, Tensor]:
        """Apply every pooling to one forward pass: name -> features (B, D) float32, usable by a head in training."""
        h_BTD = self.hidden(inputs)
        attention_BT = inputs["attention_mask"].to(self.device).bool()
        image_BT = (inputs["input_ids"] == self.processor.image_token_id).to(self.device)
        with torch.inference_mode():
            pooled = {name: pooling(h_BTD, attention_BT, image_BT) for name, pooling in poolings.items()}
        expected = (len(h_BTD), self.dim)
        for name, features in pooled.items():
            if features.shape != expected:
                raise ValueError(f"pooling {name} returned the shape {tuple(features.shape)}, expected {expected}")
        # Copied outside inference mode, because autograd does not save inference tensors for a backward pass.
        return {name: features.float().clone() for name, features in pooled.items()}

    def pooled(
        self, images: Sequence["Image | None"], prompts: Sequence[str], poolings: Mapping[str, Pooling]
    ) -> dict[str, Tensor]:
        """Return the features of B photos (None: no photo) with their prompts: pooling -> (B, D) float32."""
        return self.pool(self.preprocess(images, prompts), poolings)

    forward = pooled


class _LinearPatchEmbedding(nn.Module):
    """A convolution with stride equal to its kernel, applied to flattened patches (num_patches, patch_dim)."""

    def __init__(self, convolution: nn.Conv3d):
        super().__init__()
        self.weight = nn.Parameter(convolution.weight.detach().flatten(1))
        self.bias = nn.Parameter(convolution.bias.detach()) if convolution.bias is not None else None

    def forward(self, patches: Tensor) -> Tensor:
        return F.linear(patches.to(self.weight.dtype), self.weight, self.bias)


def feature_dim(folder: Path) -> int:
    """Return the feature dimension D of a checkpoint folder without loading its weights."""
    with _quiet_transformers():
        return _config(folder).text_config.hidden_size


def _config(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # whatever the library's validation raises
        raise UserError(f"{folder / 'config.json'} is not a valid Qwen3-VL config: {error}") from error
    # Fusions requested by a config would replace classes of the library for every later model of the process.
    config.fusion_config = None
    return config


def _load(folder: Path, config: Any, dtype: torch.dtype, attention: str) -> Any:
    if attention not in ATTENTIONS:
        raise UserError(f"backbone.attention={attention} is unknown. Use one of {', '.join(ATTENTIONS)}.")
    try:
        model, report = AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=dtype,
            attn_implementation=attention,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # so that they are listed in the report
            output_loading_info=True,
        )
    except ImportError as error:
        raise UserError(f"backbone.attention={attention} is not available: {error}") from error
    except (OSError, RuntimeError, ValueError, TypeError, SafetensorError) as error:
        raise UserError(f"Could not load the checkpoint {folder}: {error}") from error
    if report["mismatched_keys"]:
        name, found, expected = sorted(report["mismatched_keys"])[0]
        raise UserError(
            f"The weights in {folder} do not fit its config.json: {name} is {tuple(found)}, expected "
            f"{tuple(expected)} ({len(report['mismatched_keys'])} such tensors)."
        )
    if report["missing_keys"]:  # transformers would initialize them at random
        names = sorted(report["missing_keys"])
        raise UserError(f"The weights in {folder} lack {len(names)} tensors of the model, such as {names[0]}.")
    return model


def _keep_layers(model: Any, num: int) -> None:
    layers = model.language_model.layers
    # Features of the vision layers ("deepstack") are added after the first decoder layers, which must stay.
    minimum = len(model.visual.deepstack_visual_indexes)
    if not minimum <= num <= len(layers):
        raise UserError(f"backbone.layer={num} must be between {minimum} and {len(layers)} for this checkpoint.")
    model.language_model.layers = layers[:num]


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Hide progress bars and the table of unused tensors (the vocabulary head)."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
