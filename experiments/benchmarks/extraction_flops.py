"""Floating point operations of one photo with its prompt, from the config of a Qwen3-VL.

Matrix products only; a multiplication and an addition count as two. Attention counts in full, not only its causal half,
as the eager implementation computes it. Without vocabulary logits. torch's counter gives the same number.
"""

from typing import Any


def model_flops(config: Any, num_patches: int, num_tokens: int) -> int:
    """Return the operations for a photo of `num_patches` patches in a prompt of `num_tokens` tokens."""
    return _vision(config.vision_config, num_patches) + _text(config.text_config, num_tokens)


def _vision(vision: Any, num_patches: int) -> int:
    wide = vision.hidden_size
    patch_dim = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
    layer = 4 * wide**2 + 2 * wide * vision.intermediate_size + 2 * num_patches * wide  # q k v o, MLP, scores and sums
    merged = wide * vision.spatial_merge_size**2
    merger = merged**2 + merged * vision.out_hidden_size
    num_mergers = 1 + len(vision.deepstack_visual_indexes)
    products = num_patches * (patch_dim * wide + vision.depth * layer)
    return 2 * (products + num_patches // vision.spatial_merge_size**2 * num_mergers * merger)


def _text(text: Any, num_tokens: int) -> int:
    queries, keys = (text.head_dim * heads for heads in (text.num_attention_heads, text.num_key_value_heads))
    projections = text.hidden_size * (2 * queries + 2 * keys + 3 * text.intermediate_size)
    return 2 * num_tokens * text.num_hidden_layers * (projections + 2 * num_tokens * queries)
