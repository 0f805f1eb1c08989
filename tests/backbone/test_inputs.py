"""Inputs: features from the store or computed in the step, of the photos that were checked."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from style_match.backbone import pooling
from style_match.backbone.extractor import decode_rows
from style_match.backbone.inputs import Inputs
from style_match.utils.errors import UserError
from tests.composed import composed

from .fake_backbone import FakeBackbone, expected


class Backbone(FakeBackbone):
    """Pools as `Qwen3VL` does: the poolings get one token of the image and one of the text, which are alike."""

    def pool(self, inputs, poolings):
        both = torch.ones(len(inputs["features"]), 2, dtype=torch.bool)
        image = both & torch.tensor([True, False])

        def of(pooling):
            return lambda features: pooling(features[:, None].repeat(1, 2, 1), both, image)

        return super().pool(inputs, {name: of(pooling) for name, pooling in poolings.items()})

    def pooled(self, images, prompts, poolings):
        return self.pool(self.preprocess(images, prompts), poolings)


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Maker of Inputs over six photos of six sizes, with a backbone that costs nothing."""
    monkeypatch.setenv("STYLE_MATCH_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "data"
    root.mkdir()
    sizes = [16, 48, 8, 32, 64, 24]
    for i, side in enumerate(sizes):
        Image.new("RGB", (side, side), (40 * i, 9, 9)).save(root / f"{i}.png")
    ids = [f"{side}{i}" for i in range(3) for side in "ab"]
    rows = [f"{profile_id},{i}.png" for i, profile_id in enumerate(ids)]
    (root / "profiles.csv").write_text("\n".join(["profile_id,image", *rows]))
    (root / "couples.csv").write_text("left_id,right_id\na0,b0\na1,b1\na2,b2\n")

    def make(*words: str) -> Inputs:
        made = Inputs(composed("train", "data=couples", f"data.root={root}", "progress=false", *words))
        made.backbone = Backbone()
        return made

    return make


def test_features_computed_in_the_step_keep_the_order_of_the_batch(inputs):
    made = inputs("encode=online", "backbone.token_budget=40")
    features = made.encode_online({"rows": made.rows})
    pixels = [image.tobytes() for image in decode_rows(made.rows, 10**6)]
    wanted = [expected(row.prompt, photo) for row, photo in zip(made.rows, pixels, strict=True)]
    assert torch.allclose(features, torch.stack(wanted))
    assert len(made.backbone.batches) > 2
    assert torch.equal(features, made.features)


def test_a_photo_that_was_changed_since_it_was_checked_is_refused(inputs):
    made = inputs("encode=online")
    rows = made.rows
    Image.new("RGB", (16, 16), (1, 2, 3)).save(rows[0].path)
    with pytest.raises(UserError, match=r"0\.png has changed since it was checked"):
        made.encode_online({"rows": rows})


def test_a_name_of_this_packages_poolings_stands_for_that_function(inputs):
    made = inputs("pooling.function.path=style_match.backbone.pooling.eos")
    with pytest.raises(UserError, match=r"pooling\.name=mean is a pooling of this package"):
        assert made.store


def test_an_own_pooling_has_a_store_of_its_own(inputs, monkeypatch: pytest.MonkeyPatch):
    other = inputs("pooling.name=mine", "pooling.function.path=style_match.backbone.pooling.eos")
    assert torch.equal(other.features, inputs("pooling=eos").features)
    assert other.store.key != inputs("pooling=eos").store.key
    before = inputs().store.key
    assert inputs("pooling=eos").store.key == before, "every pooling of the package is kept"
    monkeypatch.setattr(pooling, "mean", pooling.mean_text)
    assert inputs("pooling=eos").store.key != before


def test_a_composed_pooling_is_joined_from_the_store_without_the_backbone(inputs):
    mean, eos = inputs().features, inputs("pooling=eos").features
    both = inputs("pooling=both")
    assert both.store.key == inputs().store.key
    assert torch.equal(both.features, pooling.joined([mean, eos]))
    assert both.backbone.batches == [] and mean.shape[1] == both.features.shape[1] / 2
    assert torch.equal(inputs("pooling=both", "pooling.parts=[eos,mean]").features, pooling.joined([eos, mean]))
    assert torch.allclose(both.encode_online({"rows": both.rows}), both.features)


def test_the_demo_is_drawn_into_no_folder_of_other_files(inputs, tmp_path: Path):
    made = inputs("data=demo_couples")
    (tmp_path / "data" / "profiles.csv").touch()
    with pytest.raises(UserError, match=rf"set data=couples data\.root={tmp_path / 'data'}"):
        assert made.folder


def test_a_demo_that_cannot_be_drawn_is_a_mistake_of_the_user(inputs, tmp_path: Path):
    (tmp_path / "file").touch()
    made = inputs("data=demo_couples", f"data.root={tmp_path / 'file' / 'demo'}")
    with pytest.raises(UserError, match=r"Cannot draw the demo into .*Set another data\.root"):
        assert made.folder


DRAW = """
import sys
from omegaconf import OmegaConf
from style_match.synthetic.dataset import draw_demo
draw_demo(OmegaConf.load(sys.argv[1]), show=False)
"""


@pytest.mark.integration
def test_two_processes_draw_one_demo(inputs, tmp_path: Path):
    data = inputs("data=demo_couples", "data.num_couples=20", f"data.root={tmp_path / 'drawn'}").cfg.data
    OmegaConf.save(data, tmp_path / "data.yaml")
    both = [subprocess.Popen([sys.executable, "-c", DRAW, tmp_path / "data.yaml"]) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert len(list((tmp_path / "drawn" / "images").iterdir())) == 40
