"""Write a random Qwen3-VL checkpoint in the format of the hub; small by default, 0.4 million parameters."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from huggingface_hub import save_torch_state_dict
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Qwen2Tokenizer, Qwen3VLConfig, Qwen3VLForConditionalGeneration

# Those that Qwen3-VL's tokenizer has and a prompt can contain; here their ids follow the small vocabulary.
CONTROL_TOKENS = [
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
]
CORPUS = [
    "Describe this person.",
    "caption: a neat dandy look",
    "style_vibe: street, 깔끔한 댄디",
    "grooming_level: high",
]
# Writes turns as the released template does for text and images.
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\n' }}"
    "{%- if message.content is string %}{{- message.content }}{%- else %}{%- for part in message.content %}"
    "{%- if part.type == 'image' %}{{- '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{%- elif 'text' in part %}{{- part.text }}{%- endif %}{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)
IMAGE_PROCESSOR = {  # the release's preprocessor_config.json
    "size": {"longest_edge": 16777216, "shortest_edge": 65536},
    "patch_size": 16,
    "temporal_patch_size": 2,
    "merge_size": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "processor_class": "Qwen3VLProcessor",
    "image_processor_type": "Qwen2VLImageProcessorFast",
}
TEXT = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "mrope_section": [4, 2, 2],
}
VISION = {
    "depth": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "deepstack_visual_indexes": [0, 1, 2],
}


def make(
    folder: Path,
    *,
    seed: int = 0,
    text: dict[str, Any] = TEXT,
    vision: dict[str, Any] = VISION,
    std: float = 0.1,
    dtype: torch.dtype = torch.float32,
    tied: bool = True,
    max_shard_bytes: int = 2**31,
) -> Qwen3VLConfig:
    """Write config, weights, tokenizer, image processor and chat template into `folder`.

    Args:
        std: Of the weights. 0.02 at width 64 makes nearly linear layers; 0.1 makes mistakes in the inputs visible.
        tied: Whether the vocabulary head is the input embedding; otherwise another head is written.
        max_shard_bytes: Size of a shard; larger weights have several and an index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    _write_json(folder / "preprocessor_config.json", IMAGE_PROCESSOR)
    _write_json(folder / "chat_template.json", {"chat_template": CHAT_TEMPLATE})
    config = _config(tokenizer, text, vision, tied)
    config.architectures = ["Qwen3VLForConditionalGeneration"]
    config.save_pretrained(folder)
    save_torch_state_dict(dict(_weights(config, seed, std, dtype, tied)), folder, max_shard_size=max_shard_bytes)
    return config


def _tokenizer() -> Qwen2Tokenizer:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(CORPUS * 8, trainer)
    model = json.loads(bpe.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token=None,
        extra_special_tokens=[token for token in CONTROL_TOKENS if token not in ("<|im_end|>", "<|endoftext|>")],
    )


def _config(tokenizer: Qwen2Tokenizer, text: dict, vision: dict, tied: bool) -> Qwen3VLConfig:
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in CONTROL_TOKENS}
    rope = {
        "rope_type": "default",
        "rope_theta": 5_000_000,
        "mrope_interleaved": True,
        "mrope_section": text["mrope_section"],
    }
    return Qwen3VLConfig(
        text_config={
            **{name: value for name, value in text.items() if name != "mrope_section"},
            "rope_parameters": rope,
            "max_position_embeddings": 262144,
            "rms_norm_eps": 1e-6,
            "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|im_end|>"],
        },
        vision_config={
            **vision,
            "out_hidden_size": text["hidden_size"],
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "num_position_embeddings": 2304,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=tied,
    )


def _weights(config: Qwen3VLConfig, seed: int, std: float, dtype: torch.dtype, tied: bool) -> Iterator[tuple]:
    with torch.device("meta"):  # shapes only: a large model is never whole in memory
        shapes = Qwen3VLForConditionalGeneration(config).state_dict()
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in shapes.items():
        if tied and name == "lm_head.weight":
            continue
        drawn = torch.randn(tensor.shape, generator=generator) * std
        if name.endswith("norm.weight") or (".norm" in name and name.endswith("weight")):
            drawn += 1
        yield name, drawn.to(dtype)


def _write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
