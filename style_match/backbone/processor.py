"""From a photo and a prompt to the inputs of Qwen3-VL, without the official processor.

The official processor demands torchvision for its videos. What it does to photos and text is: resize and patchify the
photo, widen `<|image_pad|>` to the photo's number of tokens, tokenise, pad, and mark the image tokens in
`mm_token_type_ids`. The tensors made here are the same, bit for bit.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from style_match.backbone.checkpoint import read_chat_template
from style_match.data.prompt import END, IMAGE, render
from style_match.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image


# What a checkpoint folder must hold, told from its JSON files and weight headers; no torch is imported here.
#
# A folder in the format of the hub: `config.json`, safetensors weights (one file, or shards with an index), a
# tokenizer, an image processor and a chat template.


IMAGE_BACKENDS = ("pil", "torchvision")
CONTROL_TOKENS = {  # token -> the key of config.json that repeats its id
    "<|im_start|>": None,
    "<|im_end|>": None,
    "<|vision_start|>": "vision_start_token_id",
    "<|vision_end|>": "vision_end_token_id",
    "<|image_pad|>": "image_token_id",
}
MAX_ASPECT_RATIO = 200  # of the resizing rule of Qwen2-VL's image processor


class Patches(NamedTuple):
    """A photo as the vision tower takes it: `pixels` (num_patches, patch_dim), `grid` (1, 3) frames, rows, columns."""

    pixels: Tensor
    grid: Tensor


class Preprocessor:
    """Makes the inputs of a batch. Holds no weights, can be pickled, and may be called from many threads at once.

    Args:
        folder: a checked checkpoint folder.
        config: its `Qwen3VLConfig`.
        image_backend: what resizes, "pil" or "torchvision"; they differ by about 1e-2 in the features.
        min_pixels, max_pixels: bounds of the resized photo's area; the checkpoint's own if None.
        padding_side: "right" or "left".

    Raises:
        UserError: tokenizer, chat template or image processor do not fit the model, or an option is out of range.
    """

    def __init__(
        self,
        *,
        folder: Path,
        config: Any,
        image_backend: str,
        min_pixels: int | None,
        max_pixels: int | None,
        padding_side: str,
    ):
        if padding_side not in ("right", "left"):
            raise UserError(f"padding_side={padding_side} is not known; take right or left.")
        self.padding_side = padding_side
        self._images = _image_processor(folder, image_backend, min_pixels, max_pixels)
        tokenizer = _tokenizer(folder)
        _check_chat_template(tokenizer, folder)
        # The Rust tokenizer, set never to pad: padding through the Python wrapper changes it, which threads must not.
        self._tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        _check_control_tokens(self._tokenizer, folder, config)
        self.image_token_id: int = config.image_token_id
        self._pad_id = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else 0

    def num_tokens(self, prompt: str, width: int, height: int) -> int:
        """Length of a prompt in tokens, with its photo of `width` x `height` pixels where it has one."""
        ids = self._encode(prompt)
        if self.image_token_id not in ids:
            return len(ids)
        return len(ids) - 1 + self._num_image_tokens(width, height)

    def __call__(self, images: Sequence["Image | None"], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Inputs of B prompts, on the CPU: `collate` of what `patchify` makes of their photos."""
        return self.collate([self.patchify(image) for image in images], prompts)

    def patchify(self, image: "Image | None") -> Patches | None:
        """An RGB photo, resized and cut up; None where a prompt has no image.

        Raises:
            UserError: it is more than 200 times longer than wide, or the other way round.
        """
        if image is None:
            return None
        _check_aspect_ratio(image.width, image.height)
        options = {}
        if self._images.backend == "pil" and self._images.do_resize:
            # The processor would copy the whole photo to channels first and back before it resizes the same way.
            image = image.resize(self._resized(image.width, image.height), self._images.resample)
            options["do_resize"] = False
        made = self._images(images=[image], return_tensors="pt", **options)
        return Patches(made["pixel_values"], made["image_grid_thw"])

    def collate(self, photos: Sequence[Patches | None], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Inputs of B prompts, on the CPU.

        Args:
            photos: of each prompt, None where it has no image.
            prompts: rendered prompts.

        Returns:
            `input_ids`, `attention_mask`, `mm_token_type_ids` (B, T); with photos, all their patches one after the
            other in `pixel_values` (num_patches, patch_dim), and their grids in `image_grid_thw` (num_photos, 3).
        """
        merged = self._images.merge_size**2
        rows = [
            self._widen(self._encode(prompt), None if photo is None else len(photo.pixels) // merged)
            for photo, prompt in zip(photos, prompts, strict=True)
        ]
        ids, mask = self._pad(rows)
        inputs = {"input_ids": ids, "attention_mask": mask, "mm_token_type_ids": (ids == self.image_token_id).int()}
        if present := [photo for photo in photos if photo is not None]:
            inputs["pixel_values"] = torch.cat([photo.pixels for photo in present])
            inputs["image_grid_thw"] = torch.cat([photo.grid for photo in present])
        return inputs

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Width and height that the image processor gives a photo."""
        factor, size = self._images.patch_size * self._images.merge_size, self._images.size
        resized = smart_resize(height, width, factor, size["shortest_edge"], size["longest_edge"])
        return resized[1], resized[0]

    def _encode(self, prompt: str) -> list[int]:
        # No tokens are added, so that the prompt ends with <|im_end|> whatever the tokenizer would append.
        return self._tokenizer.encode(prompt, add_special_tokens=False).ids

    def _num_image_tokens(self, width: int, height: int) -> int:
        _check_aspect_ratio(width, height)
        side = self._images.patch_size * self._images.merge_size
        resized = self._resized(width, height)
        return (resized[0] // side) * (resized[1] // side)

    def _widen(self, ids: list[int], num_image_tokens: int | None) -> list[int]:
        found = ids.count(self.image_token_id)
        if found != (num_image_tokens is not None):
            given = "no photo" if num_image_tokens is None else "one photo"
            raise ValueError(f"a prompt with {found} places for a photo was given {given}")
        if num_image_tokens is None:
            return ids
        at = ids.index(self.image_token_id)
        return [*ids[:at], *[self.image_token_id] * num_image_tokens, *ids[at + 1 :]]

    def _pad(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        longest = max(map(len, rows))
        ids = torch.full((len(rows), longest), self._pad_id)
        mask = torch.zeros_like(ids)
        for i, row in enumerate(rows):
            start = 0 if self.padding_side == "right" else longest - len(row)
            ids[i, start : start + len(row)] = torch.tensor(row)
            mask[i, start : start + len(row)] = 1
        return ids, mask


def _image_processor(folder: Path, backend: str, min_pixels: int | None, max_pixels: int | None) -> Any:
    if backend not in IMAGE_BACKENDS:
        raise UserError(f"backbone.image_backend={backend} is not known; take one of {', '.join(IMAGE_BACKENDS)}.")
    if backend == "torchvision" and importlib.util.find_spec("torchvision") is None:
        raise UserError(
            "backbone.image_backend=torchvision needs torchvision; it comes with an extra: pip install "
            "'style_match[torchvision]'. Or take pil."
        )
    bounds = {"min_pixels": min_pixels, "max_pixels": max_pixels}
    for name, value in bounds.items():
        if value is not None and value < 1:
            raise UserError(f"backbone.{name}={value} must be at least 1.")
    given = {name: value for name, value in bounds.items() if value is not None}
    try:
        processor = AutoImageProcessor.from_pretrained(folder, backend=backend, local_files_only=True, **given)
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"The image processor of {folder} cannot be loaded: {_first_line(error)}") from error
    if processor.backend != backend:  # transformers takes another one without a word where one is not to be had
        raise UserError(f"The image processor of {folder} has no {backend} backend. Change backbone.image_backend.")
    least, most = processor.size["shortest_edge"], processor.size["longest_edge"]
    if least > most and min_pixels is None and max_pixels is not None:
        processor.size["shortest_edge"] = least = most  # asked for smaller photos than the checkpoint's least
    if least > most:
        least_from, most_from = (
            f"backbone.{name}" if name in given else "the checkpoint's" for name in ("min_pixels", "max_pixels")
        )
        raise UserError(
            f"The least area of a photo, {least} pixels ({least_from}), is above the greatest, {most} ({most_from}). "
            "Set backbone.min_pixels and backbone.max_pixels."
        )
    return processor


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the Rust library raises bare Exceptions
        raise UserError(f"The tokenizer of {folder} cannot be loaded: {_first_line(error)}") from error


def _check_control_tokens(tokenizer: Any, folder: Path, config: Any) -> None:
    for token, key in CONTROL_TOKENS.items():
        ids = tokenizer.encode(token, add_special_tokens=False).ids
        if len(ids) != 1:
            raise UserError(f"The tokenizer of {folder} does not know {token} as one token; it makes {len(ids)} of it.")
        if key is not None and getattr(config, key) != ids[0]:
            path, said = folder / "config.json", getattr(config, key)
            raise UserError(f"{path} says {key}={said}, but the tokenizer gives {token} the id {ids[0]}.")
    size, vocabulary = tokenizer.get_vocab_size(with_added_tokens=True), config.text_config.vocab_size
    if size > vocabulary:
        raise UserError(f"The tokenizer of {folder} has {size} tokens, but the model only {vocabulary} (vocab_size).")


def _check_chat_template(tokenizer: Any, folder: Path) -> None:
    """The checkpoint was trained on what its template writes; ours must be that, but for the last newline."""
    path, template = read_chat_template(folder)
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "text"}]}
    system = {"role": "system", "content": "system"}
    options: dict[str, Any] = {"image": True, "metadata": None, "instruction": "text", "template": "{instruction}"}
    try:
        alone, both = (
            tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
            for turns in ([user], [system, user])
        )
    except Exception as error:  # whatever a template may raise
        raise UserError(f"The chat template in {path} cannot be rendered: {_first_line(error)}") from error
    ours = render(system="system", leave_out=(), **options) + "\n"
    # Without a system turn a template may write one of its own; prompt.system says what is wanted, so that is allowed.
    if both != ours or not alone.endswith(render(system=None, leave_out=(), **options) + "\n"):
        raise UserError(
            f"The chat template in {path} does not write turns as Qwen3-VL's does, with {IMAGE} for a photo and {END} "
            f"at the end of a turn. It writes {both!r} where {ours!r} is expected."
        )


def _check_aspect_ratio(width: int, height: int) -> None:
    if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
        raise UserError(
            f"a photo of {width} x {height} pixels is too narrow: one side is more than {MAX_ASPECT_RATIO} times the "
            "other; crop it, or leave its profile out"
        )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
