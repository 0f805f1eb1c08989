"""What the tiny backbone was taught: complete chats, loss on the answer alone, no class name anywhere."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import AutoImageProcessor, AutoTokenizer

import style_match.synthetic
from style_match.synthetic.world import STYLES

pictures = pytest.importorskip("experiments.tiny_backbone.pictures", reason="experiments are not on the path")
samples = pytest.importorskip("experiments.tiny_backbone.samples", reason="experiments are not on the path")

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
        # Generation stops at <|im_end|>, so the template's last newline is not taught.
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


def test_patches_are_the_image_processors():
    few = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    expected = AutoImageProcessor.from_pretrained(TINY)(list(few), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(pictures.patches(few, RECIPE["model"]["vision"]), expected, atol=1e-5, rtol=0)
