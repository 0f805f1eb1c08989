"""Captions of photos, and parts of them: short texts such as people search with."""

import hashlib
import random
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from style_match.data.prompt import REPAIR, classes_named, list_faults, metadata_text
from style_match.utils.errors import UserError

_BETWEEN_PARTS = re.compile(r"\s*(?:[,;.!?]+(?=\s|$)|[\n\u3001\u3002\uff0c\uff0e]+)\s*")
MOST_PARTS = 4  # of a caption that are joined into one text


class UnreadableCaptions(UserError):
    """Captions that are missing or cannot be used; `photos` counts and names the photos, without a remedy."""

    def __init__(self, photos: str, *, keys: Sequence[str]) -> None:
        super().__init__(
            f"text.attributes=[{','.join(keys)}] cannot be read for {photos}\n"
            f"{REPAIR}, set text.attributes to others, or train without texts: loss.text_weight=0."
        )
        self.photos = photos


def captions(
    images: Sequence[str],
    metadata_of: Mapping[str, Mapping[str, Any]],
    *,
    keys: Sequence[str],
    class_names: Collection[str] = (),
) -> tuple[tuple[str, ...], ...]:
    """The texts of each photo under `keys`, in order; all faults of all photos are reported together.

    Args:
        images: photos as the dataset folder writes them.
        metadata_of: photo -> attributes.
        keys: attributes that are texts of their own; a photo needs at least one of them.
        class_names: label values that no caption may contain.

    Raises:
        UnreadableCaptions: photos without any, with control tokens in one, or with one that contains the class.
    """
    faults, found = [], []
    for image in images:
        metadata = metadata_of.get(image, {})
        texts = {key: metadata[key] for key in keys if metadata.get(key)}
        try:
            lines = (metadata_text({"text": value}, leave_out=()) for value in texts.values())
            found.append(tuple(line.removeprefix("text: ") for line in lines))
            if not texts:
                raise UserError(f"it has no {' or '.join(keys)}")
            if named := classes_named(texts, class_names, leave_out=()):
                raise UserError(f"its text names the class ({', '.join(named)})")
        except UserError as error:
            faults.append(f"{image}: {error}")
    if faults:
        raise UnreadableCaptions(list_faults(faults, len(images)), keys=keys)
    return tuple(found)


def parts_of(caption: str) -> list[str]:
    """The texts between the commas, full stops and line ends of a caption, in order."""
    return [part for part in _BETWEEN_PARTS.split(caption) if part]


def drawn_parts(caption: str, num: int) -> list[str]:
    """`num` texts of one to four parts of a caption each, in its order; a function of the caption."""
    parts = parts_of(caption)
    rng = random.Random(int.from_bytes(hashlib.sha256(caption.encode()).digest()))
    texts = []
    for _ in range(num):
        size = rng.randint(1, min(MOST_PARTS, len(parts)))
        texts.append(", ".join(parts[place] for place in sorted(rng.sample(range(len(parts)), size))))
    return texts


def is_true_of(text: str, caption: str) -> bool:
    """Whether every part of the text is a part of the caption."""
    return set(parts_of(text)) <= set(parts_of(caption))
