"""Chat samples: what the user turn holds, and what the assistant shall say."""

from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from style_match.synthetic.captions import COUPLE_KEYS, STYLE_KEYS, caption, couple_metadata, query, style_metadata
from style_match.synthetic.world import Look

IMAGE_PAD = "<|image_pad|>"
IGNORED = -100
# The class label must not become readable from the prompt.
NEVER_IN_PROMPT = ("fashion_style",)


@dataclass(frozen=True)
class Sample:
    task: str
    picture: int  # index of the picture it is about
    has_image: bool
    user: str
    assistant: str


def num_image_tokens(recipe: dict) -> int:
    """Return the number of merged patches of a picture."""
    vision = recipe["model"]["vision"]
    return (recipe["pictures"]["input_px"] // (vision["patch_size"] * vision["spatial_merge_size"])) ** 2


def image_placeholder(recipe: dict) -> str:
    """Return the image of a user turn: one pad token per merged patch."""
    return f"<|vision_start|>{IMAGE_PAD * num_image_tokens(recipe)}<|vision_end|>"


class SampleMaker:
    """Makes the samples of a recipe's tasks."""

    def __init__(self, *, recipe: dict) -> None:
        self.prompt, self.metadata = recipe["prompt"], recipe["metadata"]
        self.image = image_placeholder(recipe)

    def make(self, task: str, picture: int, look: Look, rng: np.random.Generator) -> Sample:
        user, assistant = getattr(self, f"_{task}")(look, rng)
        return Sample(task, picture, task.startswith("image"), user, assistant)

    def _image_to_english(self, look: Look, rng: np.random.Generator) -> tuple[str, str]:
        return self.image + self.prompt["en"], caption(look)

    def _image_to_korean(self, look: Look, rng: np.random.Generator) -> tuple[str, str]:
        return self.image + self.prompt["ko"], caption(look, "ko")

    def _image_metadata_to_english(self, look: Look, rng: np.random.Generator) -> tuple[str, str]:
        user, assistant = self._metadata_to_english(look, rng)
        return self.image + user, assistant

    def _metadata_to_english(self, look: Look, rng: np.random.Generator) -> tuple[str, str]:
        return f"{self.metadata_lines(look, rng)}\n{self.prompt['en']}", caption(look)

    def _query_to_english(self, look: Look, rng: np.random.Generator) -> tuple[str, str]:
        return query(look, rng, _language(rng)), caption(look)

    def _translation(self, look: Look, rng: np.random.Generator) -> tuple[str, str]:
        source = _language(rng)
        return caption(look, source), caption(look, "ko" if source == "en" else "en")

    def metadata_lines(self, look: Look, rng: np.random.Generator) -> str:
        """A random subset of the attributes of either schema, `key: value` one a line, at least one."""
        keys, describe = [(COUPLE_KEYS, couple_metadata), (STYLE_KEYS, style_metadata)][int(rng.integers(2))]
        values = describe(look)
        allowed = [key for key in keys if key not in (*NEVER_IN_PROMPT, "caption")]
        kept = [key for key in allowed if rng.uniform() < self.metadata["keep_attribute"]]
        kept = kept or [allowed[int(rng.integers(len(allowed)))]]
        if rng.uniform() < self.metadata["keep_caption"]:
            kept.append("caption")
        return "\n".join(f"{key}: {values[key]}" for key in kept)


def _language(rng: np.random.Generator) -> str:
    return "en" if rng.uniform() < 0.5 else "ko"


def collate(samples: list[Sample], tokenizer: PreTrainedTokenizerBase) -> dict[str, torch.Tensor]:
    """Padded `input_ids`, `attention_mask`, `mm_token_type_ids` and `labels`, each (B, T).

    Labels are the assistant's text and its <|im_end|>; everything else is `IGNORED`.
    """
    prompts = tokenizer([chat_prompt(sample.user) for sample in samples]).input_ids
    answers = tokenizer([sample.assistant + tokenizer.eos_token for sample in samples]).input_ids
    length = max(len(prompt) + len(answer) for prompt, answer in zip(prompts, answers, strict=True))
    input_ids = torch.full((len(samples), length), tokenizer.pad_token_id)
    labels = torch.full((len(samples), length), IGNORED)
    mask = torch.zeros((len(samples), length), dtype=torch.long)
    for row, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        start, end = len(prompt), len(prompt) + len(answer)
        input_ids[row, :end] = torch.tensor(prompt + answer)
        labels[row, start:end] = torch.tensor(answer)
        mask[row, :end] = 1
    image_pad = tokenizer.convert_tokens_to_ids(IMAGE_PAD)
    return {
        "input_ids": input_ids,
        "attention_mask": mask,
        "mm_token_type_ids": (input_ids == image_pad).int(),
        "labels": labels,
    }


def chat_prompt(user: str) -> str:
    """What the chat template renders for one user turn with a generation prompt."""
    return f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
