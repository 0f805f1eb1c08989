"""From photos and prompts to the inputs of Qwen3-VL, with the image processor and tokenizer of transformers.

`AutoProcessor` is not used because it requires torchvision for videos. The tensors are the same, bit for bit.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoImageProcessor, AutoTokenizer
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from style_match.backbone.checkpoint import read_chat_template
from style_match.data.prompt import END, IMAGE, render
from style_match.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_BACKENDS = ("pil", "torchvision")
IMAGE_TOKEN = "<|image_pad|>"
CONTROL_TOKENS = {  # token -> the key of config.json with its id
    "<|im_start|>": None,
    "<|im_end|>": None,
    "<|vision_start|>": "vision_start_token_id",
    "<|vision_end|>": "vision_end_token_id",
    IMAGE_TOKEN: "image_token_id",
}
MAX_ASPECT_RATIO = 200  # limit of the image processor


class Patches(NamedTuple):
    """One photo: `pixels` (num_patches, patch_dim) and `grid` (1, 3) of frames, rows and columns."""

    pixels: Tensor
    grid: Tensor


class Processor:
    """Makes the inputs of a batch; has no weights, can be pickled and used from several threads.

    Args:
        folder: A checkpoint folder.
        config: Its `Qwen3VLConfig`.
        image_backend: Library that resizes photos, "pil" or "torchvision"; features differ by about 1e-2.
        min_pixels: Lower bound of the area of a resized photo; None for the checkpoint's own.
        max_pixels: Upper bound of the same.
        padding_side: "right" or "left".

    Raises:
        UserError: Tokenizer, chat template or image processor do not fit the model, or an option is out of range.
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
            raise UserError(f"padding_side={padding_side} is unknown. Use right or left.")
        self.padding_side = padding_side
        self.image_token_id: int = config.image_token_id
        self._images = _image_processor(folder, image_backend, min_pixels, max_pixels)
        self._tokenizer = _tokenizer(folder)
        _check_control_tokens(self._tokenizer, folder, config)
        _check_chat_template(self._tokenizer, folder)

    def num_tokens(self, prompt: str, width: int, height: int) -> int:
        """Return the length of a prompt in tokens, including its photo of `width` x `height` pixels if it has one."""
        length = len(self._encode(prompt))
        if IMAGE_TOKEN not in prompt:
            return length
        side = self._images.patch_size * self._images.merge_size
        resized_width, resized_height = self._resized(width, height)
        return length - 1 + (resized_width // side) * (resized_height // side)

    def __call__(self, images: Sequence["Image | None"], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return the inputs of B prompts, on the CPU."""
        return self.collate([self.patchify(image) for image in images], prompts)

    def patchify(self, image: "Image | None") -> Patches | None:
        """Resize an RGB photo and cut it into patches; None for a prompt without a photo.

        Raises:
            UserError: One side is more than 200 times the other.
        """
        if image is None:
            return None
        size = self._resized(image.width, image.height)
        options = {}
        if self._images.backend == "pil":
            # The image processor resizes the same way, but first copies the full-size photo to channels first and back.
            image = image.resize(size, self._images.resample)
            options["do_resize"] = False
        patches = self._images(images=[image], return_tensors="pt", **options)
        return Patches(patches["pixel_values"], patches["image_grid_thw"])

    def collate(self, photos: Sequence[Patches | None], prompts: Sequence[str]) -> dict[str, Tensor]:
        """Return the inputs of B prompts, on the CPU.

        Args:
            photos: (B,) photo of each prompt, None if it has none.
            prompts: (B,) rendered prompts.

        Returns:
            `input_ids`, `attention_mask`, `mm_token_type_ids` (B, T). With photos also `pixel_values`
            (num_patches, patch_dim) of all photos and `image_grid_thw` (num_photos, 3).
        """
        rows = [
            torch.tensor(self._encode(self._with_image_tokens(prompt, photo)))
            for prompt, photo in zip(prompts, photos, strict=True)
        ]
        masks = [torch.ones_like(row) for row in rows]
        pad_id = self._tokenizer.pad_token_id or 0
        ids_BT = pad_sequence(rows, batch_first=True, padding_value=pad_id, padding_side=self.padding_side)
        inputs = {
            "input_ids": ids_BT,
            "attention_mask": pad_sequence(masks, batch_first=True, padding_side=self.padding_side),
            "mm_token_type_ids": (ids_BT == self.image_token_id).int(),
        }
        if present := [photo for photo in photos if photo is not None]:
            inputs["pixel_values"] = torch.cat([photo.pixels for photo in present])
            inputs["image_grid_thw"] = torch.cat([photo.grid for photo in present])
        return inputs

    def _encode(self, prompt: str) -> list[int]:
        # Without special tokens, so that a prompt ends with <|im_end|> whatever the tokenizer would append. Never with
        # padding: that would change the state of the tokenizer, which several threads use.
        return self._tokenizer.encode(prompt, add_special_tokens=False)

    def _with_image_tokens(self, prompt: str, photo: Patches | None) -> str:
        """Repeat the image token of a prompt once for every merged patch of its photo."""
        if (found := prompt.count(IMAGE_TOKEN)) != (photo is not None):
            given = "no photo" if photo is None else "one photo"
            raise ValueError(f"a prompt with {found} image tokens was given {given}")
        if photo is None:
            return prompt
        return prompt.replace(IMAGE_TOKEN, IMAGE_TOKEN * (len(photo.pixels) // self._images.merge_size**2))

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height of a photo after resizing, in pixels."""
        if max(width, height) > MAX_ASPECT_RATIO * min(width, height):
            raise UserError(
                f"A photo of {width} x {height} pixels is too narrow: one side is more than {MAX_ASPECT_RATIO} times "
                "the other. Crop the photo or remove its profile."
            )
        factor, size = self._images.patch_size * self._images.merge_size, self._images.size
        height, width = smart_resize(height, width, factor, size["shortest_edge"], size["longest_edge"])
        return width, height


def _image_processor(folder: Path, backend: str, min_pixels: int | None, max_pixels: int | None) -> Any:
    if backend not in IMAGE_BACKENDS:
        raise UserError(f"backbone.image_backend={backend} is unknown. Use one of {', '.join(IMAGE_BACKENDS)}.")
    if backend == "torchvision" and importlib.util.find_spec("torchvision") is None:
        raise UserError(
            "backbone.image_backend=torchvision requires torchvision: pip install 'style_match[torchvision]'. Or use "
            "backbone.image_backend=pil."
        )
    for name, value in (("min_pixels", min_pixels), ("max_pixels", max_pixels)):
        if value is not None and value < 1:
            raise UserError(f"backbone.{name} must be at least 1 (got {value}).")
    try:
        processor = AutoImageProcessor.from_pretrained(folder, backend=backend, local_files_only=True)
    except Exception as error:  # whatever the library's validation raises
        raise UserError(f"Could not load the image processor of {folder}: {_first_line(error)}") from error
    size = processor.size
    size["longest_edge"] = max_pixels or size["longest_edge"]
    size["shortest_edge"] = min_pixels or min(size["shortest_edge"], size["longest_edge"])
    if size["shortest_edge"] > size["longest_edge"]:
        raise UserError(
            f"The minimum area of a photo, {size['shortest_edge']} pixels, is above the maximum, "
            f"{size['longest_edge']}. Set both backbone.min_pixels and backbone.max_pixels."
        )
    return processor


def _tokenizer(folder: Path) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the Rust library raises bare Exceptions
        raise UserError(f"Could not load the tokenizer of {folder}: {_first_line(error)}") from error


def _check_control_tokens(tokenizer: Any, folder: Path, config: Any) -> None:
    for token, key in CONTROL_TOKENS.items():
        ids = tokenizer.encode(token, add_special_tokens=False)
        if len(ids) != 1 or (key and getattr(config, key) != ids[0]):
            expected = f"[{getattr(config, key)}] ({key} in config.json)" if key else "one id"
            raise UserError(f"The tokenizer of {folder} does not fit the model: {token} is {ids}, expected {expected}.")
    if len(tokenizer) > (size := config.text_config.vocab_size):
        raise UserError(f"The tokenizer of {folder} has {len(tokenizer)} tokens, the model only {size} (vocab_size).")


def _check_chat_template(tokenizer: Any, folder: Path) -> None:
    """Compare the checkpoint's chat template with `data.prompt.render`, which must differ only by a final newline."""
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
        raise UserError(f"Could not render the chat template in {path}: {_first_line(error)}") from error
    ours = render(system="system", leave_out=(), **options) + "\n"
    # A template may add a default system turn if none is given; prompt.system decides here, so that is accepted.
    if both != ours or not alone.endswith(render(system=None, leave_out=(), **options) + "\n"):
        raise UserError(
            f"The chat template in {path} differs from that of Qwen3-VL, with {IMAGE} for a photo and {END} at the end "
            f"of a turn. It renders {both!r}; expected {ours!r}."
        )


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
