"""Photos and prompts through the frozen backbone, without a store."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from style_match import progress
from style_match.data.image import decode, decode_opened
from style_match.errors import UserError
from style_match.matcher.profiles import MatcherInputs
from style_match.pooling import joined
from style_match.spelling import plain_keys_and_values

if TYPE_CHECKING:
    from PIL.Image import Image

Metadata: TypeAlias = Mapping[str, Any]


class Photos:
    """What `StyleMatcher.encode` is given, as a list with a prompt each.

    Raises:
        UserError: photos or metadata are missing where the prompt has them, or are not equally many.
    """

    def __init__(self, inputs: MatcherInputs, images: Any, metadata: Metadata | Sequence[Metadata] | None):
        prompt = inputs.cfg.prompt
        if prompt.image and images is None:
            raise UserError(f"This matcher looks at photos (prompt={prompt.name}): give some.")
        about = [metadata] if isinstance(metadata, Mapping) else None if metadata is None else list(metadata)
        about = plain_keys_and_values(about)  # as a dataset folder is read
        if not prompt.metadata:
            about = None
        elif about is None:
            raise UserError(f"This matcher reads metadata (prompt={prompt.name}): give encode a dict for each photo.")
        self.images = as_list(images) if images is not None else [None] * len(about or ())
        if about is not None and len(about) != len(self.images):
            raise UserError(f"There are {len(self.images)} photos, but metadata of {len(about)}: give a dict for each.")
        self.names = [name_of(image, number) for number, image in enumerate(self.images, start=1)]
        # two photos may have one name, so that each is rendered under its number
        keys = [f"{number}: {name}" for number, name in enumerate(self.names, start=1)]
        self.prompts = inputs.render(keys, dict(zip(keys, about, strict=True)) if about is not None else {})
        self.bound = inputs.cfg.data.max_source_pixels
        self.are_seen = bool(prompt.image)

    def __len__(self) -> int:
        return len(self.images)

    def decoded(self) -> "Iterator[tuple[Image | None, str]]":
        """Each photo, upright RGB, with its prompt; UserError names one that is none."""
        for image, name, prompt in zip(self.images, self.names, self.prompts, strict=True):
            if not self.are_seen:
                yield None, prompt
            elif isinstance(image, str | Path):
                yield decode(Path(image).expanduser(), max_source_pixels=self.bound), prompt
            else:
                yield decode_opened(image, name, max_source_pixels=self.bound), prompt


def as_list(images: Any) -> list[Any]:
    """One photo, or several, as a list.

    Raises:
        UserError: something that is neither a file nor a PIL image.
    """
    from PIL.Image import Image

    found = [images] if isinstance(images, str | Path | Image) else list(images)
    for number, image in enumerate(found, start=1):
        if not isinstance(image, str | Path | Image):
            raise UserError(f"Photo {number} is a {type(image).__name__}: give a file or a PIL image.")
    return found


def name_of(image: Any, number: int) -> str:
    return str(image) if isinstance(image, str | Path) else f"photo {number}"


def pooled(
    inputs: MatcherInputs,
    pairs: "Iterator[tuple[Image | None, str]]",
    num: int,
    poolings: Mapping[str, Callable],
    *,
    batch_size: int | None,
    show: bool,
) -> Tensor:
    """(num, D) float32 features on the CPU of photos (None: none) and prompts, pooled as `poolings` say, joined."""
    if batch_size is not None and batch_size < 1:
        raise UserError(f"batch_size={batch_size} must be at least 1, or None.")
    rows, done = [], 0
    with progress.bar("encoding", "photos", show=show) as advance:
        advance(0, num)
        for images, prompts in _batches(inputs, pairs, batch_size):
            vectors = inputs.backbone.pooled(images, prompts, poolings)
            rows.append(joined([vectors[name] for name in poolings]).cpu())
            done += len(prompts)
            advance(done, num)
    return torch.cat(rows) if rows else torch.empty(0, inputs.dim)


def _batches(
    inputs: MatcherInputs, pairs: "Iterator[tuple[Image | None, str]]", batch_size: int | None
) -> "Iterator[tuple[list[Image | None], list[str]]]":
    """In the order given; with `batch_size` None as many as the padded tokens of a batch may be."""
    images: list[Any] = []
    prompts: list[str] = []
    longest = 0
    for image, prompt in pairs:
        width, height = image.size if image is not None else (0, 0)
        tokens = inputs.backbone.num_tokens(prompt, width, height)
        padded = max(longest, tokens) * (len(prompts) + 1)
        is_full = padded > inputs.cfg.backbone.token_budget if batch_size is None else len(prompts) == batch_size
        if prompts and is_full:
            yield images, prompts
            images, prompts, longest = [], [], 0
        images.append(image)
        prompts.append(prompt)
        longest = max(longest, tokens)
    if prompts:
        yield images, prompts
