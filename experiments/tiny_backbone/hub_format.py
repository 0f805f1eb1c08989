"""Tokenizer, image processor and model of a small Qwen3-VL in the format of the hub."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLVisionModel,
)

# Special tokens of the released Qwen3-VL that a chat can contain.
SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
PAD, EOS = "<|endoftext|>", "<|im_end|>"
VOCAB_MULTIPLE = 16
OFFSETS = [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, 1), (-1, 1), (1, -1)]  # (down, right), in patches

# Renders turns as the template of Qwen3-VL does: no default system prompt, one pad token for an image.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\n' -}}"
    "{%- if message.content is string -%}{{- message.content -}}{%- else -%}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'image' or 'image' in part or 'image_url' in part -%}"
    "{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif part.type == 'video' or 'video' in part -%}"
    "{{- '<|vision_start|><|video_pad|><|vision_end|>' -}}"
    "{%- elif 'text' in part -%}{{- part.text -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)


def train_tokenizer(corpus: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """Train a byte-level BPE that splits text as Qwen does; it encodes any text."""
    splitter = Qwen2Tokenizer(vocab={}, merges=[]).backend_tokenizer.pre_tokenizer
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = splitter
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    )
    trained = json.loads(bpe.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=trained["vocab"],
        merges=[tuple(merge) for merge in trained["merges"]],
        unk_token=None,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[token for token in SPECIAL_TOKENS if token not in (EOS, PAD)],
        chat_template=CHAT_TEMPLATE,
        model_max_length=4096,
    )


def image_processor(input_px: int, vision: dict) -> Qwen2VLImageProcessorPil:
    """Return an image processor that resizes every photo to the area of the training."""
    return Qwen2VLImageProcessorPil(
        patch_size=vision["patch_size"],
        merge_size=vision["spatial_merge_size"],
        temporal_patch_size=vision["temporal_patch_size"],
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        size={"shortest_edge": input_px**2, "longest_edge": input_px**2},
    )


def build_model(
    recipe: dict, tokenizer: Qwen2Tokenizer, seed: int, attention_shift: float
) -> Qwen3VLForConditionalGeneration:
    """Return a randomly initialised Qwen3-VL in fp32; see `attend_to_neighbours` for `attention_shift`."""
    token_id = tokenizer.convert_tokens_to_ids
    text, vision = recipe["text"], recipe["vision"]
    vocab_size = -(-len(tokenizer) // VOCAB_MULTIPLE) * VOCAB_MULTIPLE
    config = Qwen3VLConfig(
        text_config={
            **text,
            "vocab_size": vocab_size,
            "pad_token_id": token_id(PAD),
            "bos_token_id": token_id(PAD),
            "eos_token_id": token_id(EOS),
            "tie_word_embeddings": True,
        },
        vision_config={**vision, "out_hidden_size": text["hidden_size"]},
        image_token_id=token_id("<|image_pad|>"),
        video_token_id=token_id("<|video_pad|>"),
        vision_start_token_id=token_id("<|vision_start|>"),
        vision_end_token_id=token_id("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config).float()
    attend_to_neighbours(model.model.visual, attention_shift)
    return model


@torch.no_grad()
def attend_to_neighbours(visual: Qwen3VLVisionModel, strength: float) -> None:
    """Let every head of the vision tower, except in the last layer, begin with attention to a neighbouring patch.

    The biases of query and key are set so that the rotary embedding makes their product largest at one offset. The
    heads of a layer take different offsets, like the taps of a convolution (compare Zheng et al., "Structured
    Initialization for Attention in Vision Transformers", 2024).

    Args:
        visual: The vision tower.
        strength: Length of a bias in each plane of rotation.
    """
    num_heads, frequencies = visual.config.num_heads, visual.rotary_pos_emb.inv_freq
    for layer, block in enumerate(visual.blocks[:-1]):
        query, key, _ = block.attn.qkv.bias.view(3, num_heads, -1)
        for head in range(num_heads):
            down, right = OFFSETS[(head + num_heads * layer) % len(OFFSETS)]
            angles = torch.cat([frequencies * down, frequencies * right])
            query[head] = strength * torch.cat([angles.cos(), angles.sin()])
            key[head] = strength * torch.cat([torch.ones_like(angles), torch.zeros_like(angles)])


@torch.no_grad()
def whiten_patches(visual: Qwen3VLVisionModel, pixels: torch.Tensor, scale: float, ridge: float) -> None:
    """Let the patch embedding begin with the leading principal components of patches, at nearly equal variance.

    The variance of a patch is nearly all in its mean colour; random weights would hardly see contours and noise.

    Args:
        visual: The vision tower.
        pixels: (num_patches, patch_dim) as the image processor makes them; both frames are equal.
        scale: Standard deviation of a component.
        ridge: Added to the variances, so that the last components are not amplified.
    """
    projection = visual.patch_embed.proj
    width, channels, frames, patch, _ = projection.weight.shape
    x = pixels.view(-1, channels, frames, patch, patch)[:, :, 0].flatten(1)
    variances, directions = torch.linalg.eigh(torch.cov(x.T))
    weight = scale * (directions / (variances + ridge).sqrt()).flip(1)[:, :width].T
    projection.weight.copy_((weight / frames).view(width, channels, 1, patch, patch).expand_as(projection.weight))
    projection.bias.copy_(-weight @ x.mean(0))


def export(
    model: Qwen3VLForConditionalGeneration,
    tokenizer: Qwen2Tokenizer,
    processor: Qwen2VLImageProcessorPil,
    folder: Path,
) -> None:
    """Write a folder for `AutoModel`, `AutoTokenizer` and `AutoImageProcessor`, each file atomically.

    The weights are stored in bfloat16, which halves the package; config.json names float32, in which they are used.
    """
    staging = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(staging, ignore_errors=True)
    model.save_pretrained(staging)
    weights = staging / "model.safetensors"
    tensors = {name: tensor.to(torch.bfloat16) for name, tensor in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    tokenizer.save_pretrained(staging)
    processor.save_pretrained(staging)
    folder.mkdir(parents=True, exist_ok=True)
    for path in staging.iterdir():
        os.replace(path, folder / path.name)
    staging.rmdir()
