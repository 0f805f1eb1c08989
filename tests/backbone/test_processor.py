"""Inputs equal those of the official processor; threads, and tokenizers that do not fit."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoImageProcessor

from style_match.data.prompt import render
from style_match.utils.errors import UserError

INSTRUCTION = "Describe this person."
OPTIONS = {"metadata": None, "template": "{instruction}", "leave_out": ()}
PROMPTS = [render(image=True, system=None, instruction="word " * n + "end", **OPTIONS) for n in (1, 9, 3, 0)]


@pytest.mark.parametrize("side", ["right", "left"])
def test_inputs_are_the_official_processors_bit_for_bit(side, checkpoint, load, plain, photos):
    got = load(checkpoint, padding_side=side).preprocess(photos, PROMPTS)
    expected = plain.inputs(photos, PROMPTS, side)
    assert got.keys() == expected.keys()
    for name, tensor in got.items():
        assert torch.equal(tensor, expected[name].to(tensor.dtype)), name


@given(st.integers(1, 400), st.integers(1, 400), st.text(max_size=40))
def test_num_tokens_is_the_length_of_the_inputs(backbone, width, height, text):
    text = text.replace("<|", "").encode("utf-8", "ignore").decode()
    prompt = render(image=True, system=None, instruction=text.replace("{", "").replace("}", ""), **OPTIONS)
    if max(width, height) > 200 * min(width, height):
        with pytest.raises(UserError, match=f"{width} x {height} pixels is too narrow"):
            backbone.num_tokens(prompt, width, height)
        return
    inputs = backbone.preprocess([Image.new("RGB", (width, height))], [prompt])
    assert backbone.num_tokens(prompt, width, height) == inputs["input_ids"].shape[1]


def test_many_threads_get_what_one_gets(backbone, photos):
    jobs = [(photos[i % 4], PROMPTS[(i * 3) % 4]) for i in range(64)]
    expected = [backbone.preprocess([photo], [prompt]) for photo, prompt in jobs]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda job: backbone.preprocess([job[0]], [job[1]]), jobs))
    for one, other in zip(got, expected, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


def test_photos_and_places_for_them_must_match(backbone, photos):
    with pytest.raises(ValueError, match="1 image tokens was given no photo"):
        backbone.preprocess([None], PROMPTS[:1])
    with pytest.raises(ValueError, match="0 image tokens was given one photo"):
        backbone.preprocess(photos[:1], [render(image=False, system=None, instruction=INSTRUCTION, **OPTIONS)])


def test_a_folder_saved_by_the_processor_loads_the_same(copied, backbone, load, plain, photos):
    """transformers 5 writes processor_config.json and chat_template.jinja in place of the release's files."""
    (copied / "preprocessor_config.json").unlink()
    (copied / "chat_template.json").unlink()
    plain.processor("right").save_pretrained(copied)
    assert (copied / "processor_config.json").exists()
    assert (copied / "chat_template.jinja").exists()
    expected = backbone.preprocess(photos, PROMPTS)
    got = load(copied, min_pixels=None, max_pixels=None).preprocess(photos, PROMPTS)
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_a_tokenizer_that_does_not_fit_is_refused(copied, load, edit):
    edit(copied / "config.json", lambda config: config.update(image_token_id=7))
    with pytest.raises(UserError, match=r"<\|image_pad\|> is \[\d+\], expected \[7\] \(image_token_id in config"):
        load(copied)
    token = "<|vision_end|>"

    def forget(content):
        content["added_tokens"] = [added for added in content["added_tokens"] if added["content"] != token]

    edit(copied / "tokenizer.json", forget)
    edit(copied / "tokenizer_config.json", lambda content: content["extra_special_tokens"].remove(token))
    with pytest.raises(UserError, match=r"does not fit the model: <\|vision_end\|> is \[\d+, .*, expected"):
        load(copied)
    (copied / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"Could not load the tokenizer of .*copied"):
        load(copied)


@pytest.mark.parametrize(
    "change",
    [
        ("<|im_end|>\n", "<|im_end|>"),
        ("<|vision_start|><|image_pad|>", "<|image_pad|>"),
        ("message in messages %}", "message in messages if message.role != 'system' %}"),
    ],
)
def test_a_chat_template_that_writes_otherwise_is_refused(change, copied, load, plain):
    (copied / "chat_template.json").unlink()
    assert change[0] in plain.template
    (copied / "chat_template.jinja").write_text(plain.template.replace(*change))
    with pytest.raises(UserError, match=r"chat template in .*chat_template\.jinja"):
        load(copied)


def test_a_template_with_a_system_turn_of_its_own_is_taken(copied, load, edit, plain, backbone, photos):
    own = (
        "{%- if messages[0].role != 'system' %}{{- '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}"
        "{%- endif %}"
    )
    edit(copied / "chat_template.json", lambda content: content.update(chat_template=own + plain.template))
    got = load(copied).preprocess(photos, PROMPTS)["input_ids"]
    assert torch.equal(got, backbone.preprocess(photos, PROMPTS)["input_ids"])


def test_torchvision_is_asked_for_by_name(checkpoint, load, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"image_backend=torchvision.*style_match\[torchvision\]"):
        load(checkpoint, image_backend="torchvision")


@given(st.integers(1, 900), st.integers(1, 900), st.integers(0, 99))
def test_a_photo_of_any_size_has_the_official_processors_patches(backbone, plain, width, height, seed):
    if max(width, height) > 200 * min(width, height):
        return
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    expected = plain.images(images=[Image.fromarray(pixels)], return_tensors="pt")
    got = backbone.patchify(Image.fromarray(pixels))
    assert torch.equal(got.pixels, expected["pixel_values"]) and torch.equal(got.grid, expected["image_grid_thw"])


def test_max_pixels_below_the_checkpoints_least_area_is_least_and_most(checkpoint, load, photos):
    """The checkpoint enlarges photos to 65536 pixels or more; asked for at most 4096 it makes all about that large."""
    size = {"shortest_edge": 4096, "longest_edge": 4096}
    official = AutoImageProcessor.from_pretrained(checkpoint, backend="pil", size=size)
    small = load(checkpoint, min_pixels=None, max_pixels=4096)
    for photo in photos:
        expected = official(images=[photo], return_tensors="pt")
        got = small.patchify(photo)
        assert torch.equal(got.grid, expected["image_grid_thw"])
        assert torch.equal(got.pixels, expected["pixel_values"])
        assert got.grid.prod() * 16**2 <= 2 * 4096  # sides are whole multiples of 32 pixels


def test_half_precision_takes_patches_already_rounded(checkpoint, load, photos):
    half = load(checkpoint, dtype="bf16")
    inputs = half.preprocess(photos, PROMPTS)
    assert inputs["pixel_values"].dtype == torch.bfloat16
    exact = half.processor(photos, PROMPTS)
    assert exact["pixel_values"].dtype == torch.float32
    assert torch.equal(half.hidden(inputs), half.hidden(exact))
