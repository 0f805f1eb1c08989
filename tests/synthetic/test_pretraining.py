"""Training samples of the tiny backbone: complete chats, loss on the answer only, no class name."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import AutoTokenizer
from transformers.models.qwen3_vl.modeling_qwen3_vl import rotate_half

import style_match.synthetic
from style_match.synthetic import captions
from style_match.synthetic.figures import encode_jpeg, render
from style_match.synthetic.world import STYLES

pictures = pytest.importorskip("experiments.tiny_backbone.pictures", reason="experiments are not on the path")
samples = pytest.importorskip("experiments.tiny_backbone.samples", reason="experiments are not on the path")
attributes = pytest.importorskip("experiments.tiny_backbone.attributes", reason="experiments are not on the path")
finish = pytest.importorskip("experiments.tiny_backbone.finish", reason="experiments are not on the path")
hub_format = pytest.importorskip("experiments.tiny_backbone.hub_format", reason="experiments are not on the path")

TINY = Path(style_match.synthetic.__file__).parents[1] / "backbone" / "tiny"
RECIPE = yaml.safe_load(Path(samples.__file__).with_name("recipe.yaml").read_text())
CLASS_WORDS = {word.lower() for style in STYLES for word in style.split("_")}


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(TINY)


@pytest.fixture(scope="module")
def looks():
    return [pictures.pretraining_look(index, RECIPE["pictures"]) for index in range(200)]


@pytest.mark.parametrize("task", RECIPE["tasks"])
def test_loss_is_on_the_answer_alone(task, tokenizer, looks):
    rng = np.random.default_rng(0)
    maker = samples.SampleMaker(recipe=RECIPE)
    batch = [maker.make(task, index, look, rng) for index, look in enumerate(looks[:8])]
    inputs = samples.collate(batch, tokenizer)
    for row, sample in enumerate(batch):
        labelled = inputs["labels"][row] != samples.IGNORED
        assert tokenizer.decode(inputs["labels"][row][labelled]) == sample.assistant + "<|im_end|>"
        attended = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        turns = [{"role": "user", "content": sample.user}, {"role": "assistant", "content": sample.assistant}]
        # Generation stops at <|im_end|>, so the last newline of the template has no loss.
        assert tokenizer.decode(attended) + "\n" == tokenizer.apply_chat_template(turns, tokenize=False)
        assert inputs["mm_token_type_ids"][row].sum() == (16 if sample.has_image else 0)


def test_no_task_spells_a_class(looks):
    rng = np.random.default_rng(0)
    maker = samples.SampleMaker(recipe=RECIPE)
    for task in RECIPE["tasks"]:
        for index, look in enumerate(looks):
            sample = maker.make(task, index, look, rng)
            said = (sample.user + sample.assistant).lower()
            assert "fashion_style" not in said and not [word for word in CLASS_WORDS if word in said], said


def test_shares_add_up():
    assert sum(task["share"] for task in RECIPE["tasks"].values()) == pytest.approx(1)


def test_patches_are_those_of_the_image_processor():
    side, vision = RECIPE["pictures"]["input_px"], RECIPE["model"]["vision"]
    few = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), dtype=np.uint8)
    expected = hub_format.image_processor(side, vision)(list(few), return_tensors="pt")
    inputs = pictures.vision_inputs(few, vision)
    torch.testing.assert_close(inputs["pixel_values"], expected["pixel_values"], atol=1e-5, rtol=0)
    assert inputs["image_grid_thw"].tolist() == expected["image_grid_thw"].tolist()


def test_a_photo_is_resized_as_by_the_image_processor(looks):
    side, vision = RECIPE["pictures"]["input_px"], RECIPE["model"]["vision"]
    photo = encode_jpeg(render(looks[0], RECIPE["pictures"]["size_px"]))
    with Image.open(io.BytesIO(photo)) as image:
        expected = hub_format.image_processor(side, vision)([image], return_tensors="pt")["pixel_values"]
    resized = pictures.patches(pictures.read_as_model(photo, side)[None].copy(), vision)
    torch.testing.assert_close(resized, expected, atol=1e-2, rtol=0)


def test_attributes_are_what_the_caption_names(looks):
    targets = attributes.targets(looks)
    for row, look in enumerate(looks):
        value = {
            name: list(options)[index] if index >= 0 else None
            for (name, options), index in zip(attributes.CLASSES.items(), targets.classes[row].tolist(), strict=True)
        }
        text = captions.caption(look)
        assert captions.TOP[value["top"]][0] in text and value["hue"] in text
        assert (value["bottom"] is None) == bool((targets.colours[row, 3:] < 0).all())
        assert value["bottom"] is None or captions.BOTTOM[value["bottom"]][0] in text
        accessories = {
            part for part, flag in zip(attributes.FLAGS, targets.flags[row].tolist(), strict=True) if flag
        } | {value[name] for name in ("headwear", "eyewear") if value[name]}
        assert accessories == set(captions.visible_accessories(look))


def test_no_attribute_is_a_style_class():
    names = {str(option) for options in attributes.CLASSES.values() for option in options} | set(attributes.FLAGS)
    assert not names & set(STYLES)


def test_garments_of_a_caption():
    assert finish.garments("a woman in a dark teal slip dress") == "slip dress"
    assert finish.garments("a man in an orange t-shirt and jeans") == "t-shirt and jeans"


def test_heads_of_the_vision_tower_begin_with_a_neighbouring_patch(tokenizer):
    """With patches that are all alike, the first head of the first layer attends most to the patch above."""
    model = hub_format.build_model(RECIPE["model"], tokenizer, seed=0, attention_shift=3.0)
    visual = model.model.visual
    query, key, _ = visual.blocks[0].attn.qkv.bias.view(3, visual.config.num_heads, -1)
    place = torch.tensor([[5, 5], [4, 5], [6, 5], [5, 4], [5, 6]])  # itself, above, below, left, right
    cos, sin = visual.rotary_pos_emb(query, place)
    rotated = [bias * cos + rotate_half(bias) * sin for bias in (query[0].expand(5, -1), key[0].expand(5, -1))]
    assert (rotated[0][0] @ rotated[1].T).argmax() == 1


def test_the_patch_embedding_begins_with_white_components(tokenizer, looks):
    vision, size_px = RECIPE["model"]["vision"], RECIPE["pictures"]["size_px"]
    photos = [pictures.read_as_model(encode_jpeg(render(look, size_px)), 96) for look in looks[:40]]
    pixels = pictures.patches(np.stack(photos), vision)
    visual = hub_format.build_model(RECIPE["model"], tokenizer, seed=0, attention_shift=3.0).model.visual
    hub_format.whiten_patches(visual, pixels, scale=0.5, ridge=1e-6)
    embedded = visual.patch_embed(pixels).detach()
    torch.testing.assert_close(embedded.mean(0), torch.zeros(vision["hidden_size"]), atol=1e-3, rtol=0)
    torch.testing.assert_close(torch.cov(embedded.T), 0.25 * torch.eye(vision["hidden_size"]), atol=1e-2, rtol=0)
