"""The pretrained tiny backbone knows the demo's words and figures. It fails when the drawing has changed since."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, Qwen3VLForConditionalGeneration

import style_match.synthetic
from style_match.synthetic.captions import caption, couple_metadata, query
from style_match.synthetic.dataset import style_profiles
from style_match.synthetic.figures import render
from style_match.synthetic.world import WorldParams

TINY = Path(style_match.synthetic.__file__).parents[1] / "backbone" / "tiny"
PARAMS = WorldParams(rho=0.95, scene_follow=0.2, temperature=0.05, noise=0.1)
MAX_MEGABYTES = 12
MIN_SHARE_RIGHT = 0.7


@pytest.fixture(scope="module", autouse=True)
def offline():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        yield


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def profiles():
    return style_profiles(world_seed=11, num_photos=200, params=PARAMS)


@pytest.mark.parametrize("text", ["a man in a dark green suit", "깔끔한 댄디룩 찾아줘", "ß∂ƒ 漢字 🙂\t\n"])
def test_any_text_survives_the_tokenizer(tokenizer, text):
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_captions_metadata_and_queries_are_whole_words(tokenizer, profiles):
    """Both languages have their words in the vocabulary: clearly fewer tokens than syllables or letters."""
    rng = np.random.default_rng(0)
    for profile in profiles:
        look = profile.look
        texts = [caption(look), caption(look, "ko"), query(look, rng, "en"), query(look, rng, "ko")]
        texts += [f"{key}: {value}" for key, value in couple_metadata(look).items()]
        for text in texts:
            tokens = tokenizer(text).input_ids
            assert tokenizer.decode(tokens) == text
            assert tokenizer.unk_token_id is None
            assert len(tokens) < 0.6 * len(text), text


def test_special_tokens_are_single_tokens(tokenizer):
    for token in ("<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|image_pad|>", "<|vision_end|>", "<|endoftext|>"):
        assert len(tokenizer(token).input_ids) == 1
    assert tokenizer.eos_token == "<|im_end|>" and tokenizer.pad_token == "<|endoftext|>"


def test_folder_is_small_and_loads_as_float32():
    assert sum(path.stat().st_size for path in TINY.iterdir()) < MAX_MEGABYTES * 1e6
    model, report = AutoModel.from_pretrained(TINY, output_loading_info=True)
    assert model.dtype == torch.float32 and type(model).__name__ == "Qwen3VLModel"
    assert not any(report.values())


def test_it_describes_new_figures(tokenizer, profiles):
    """Quality, shot, garments, look, light and background of a greedy caption, against the true ones."""
    processor = AutoImageProcessor.from_pretrained(TINY)
    model = Qwen3VLForConditionalGeneration.from_pretrained(TINY).eval()
    looks = [profile.look for profile in profiles[:24]]
    images = processor([render(look, 128) for look in looks], return_tensors="pt")
    assert images["image_grid_thw"].tolist() == [[1, 8, 8]] * len(looks)
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Describe this person."}]}
    prompt = tokenizer.apply_chat_template([turn], tokenize=False, add_generation_prompt=True)
    prompt = prompt.replace("<|image_pad|>", "<|image_pad|>" * 16)
    inputs = tokenizer([prompt] * len(looks), return_tensors="pt")
    is_image = inputs["input_ids"] == model.config.image_token_id
    with torch.inference_mode():
        output = model.generate(
            **inputs, **images, mm_token_type_ids=is_image.int(), max_new_tokens=48, do_sample=False
        )
    said = tokenizer.batch_decode(output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    right = [
        part in text.split(", ")
        for look, text in zip(looks, said, strict=True)
        for part in caption(look).split(", ")[:6]
    ]
    assert np.mean(right) > MIN_SHARE_RIGHT, said
