"""A folder of 60 labelled photos in an unbalanced training split, a folder of couples, and inputs over them."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from style_match.backbone.inputs import Inputs
from tests.backbone.fake_backbone import FakeBackbone
from tests.composed import composed

TRAIN = {"basic": 20, "chic": 6, "hip": 4}
HELD_OUT = {"basic": 5, "chic": 5, "hip": 5}


class Backbone(FakeBackbone):
    """Pools as `Qwen3VL` does, each photo's numbers told by its pixels and its prompt."""

    def pool(self, inputs, poolings):
        return super().pool(inputs, dict.fromkeys(poolings, lambda features: features))

    def pooled(self, images, prompts, poolings):
        return self.pool(self.preprocess(images, prompts), poolings)


@pytest.fixture(scope="session")
def styles(once) -> Path:
    """30 training profiles, 20/6/4, and 15 each for val and test; `basic` profiles have two photos."""
    return once("balance_styles", write_styles)


def write_styles(root: Path) -> None:
    root.mkdir()
    lines, number = ["profile_id,image,fashion_style,split"], 0
    for split, counts in (("train", TRAIN), ("val", HELD_OUT), ("test", HELD_OUT)):
        for label, num in counts.items():
            for i in range(num):
                for _ in range(2 if label == "basic" else 1):
                    number += 1
                    image = Image.new("RGB", (16, 16), (number, 90, 3 * number % 256))
                    image.paste((250, 250 - number, 9), (2, 3, 7, 12))
                    image.save(root / f"{number}.png")
                    lines.append(f"{split}_{label}{i},{number}.png,{label},{split}")
    (root / "profiles.csv").write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="session")
def couples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 couples."""
    root = tmp_path_factory.mktemp("couples")
    for i in range(40):
        Image.new("RGB", (16, 16), (6 * i, 255 - i, 30)).save(root / f"{i}.png")
    profiles = [f"{'lr'[i % 2]}{i // 2},{i}.png" for i in range(40)]
    (root / "profiles.csv").write_text("\n".join(["profile_id,image", *profiles]) + "\n")
    (root / "couples.csv").write_text("\n".join(["left_id,right_id", *(f"l{i},r{i}" for i in range(20))]) + "\n")
    return root


@pytest.fixture
def config(styles: Path, couples: Path, tmp_path: Path):
    """Maker of the config of a command line; `data=couples` or `data=styles` comes first."""

    def make(*words: str):
        root = {"data=styles": styles, "data=couples": couples}[words[0]]
        own = [f"data.root={root}", f"split.store={tmp_path / 'splits'}", f"features.root={tmp_path / 'features'}"]
        return composed("train", "progress=false", words[0], *own, *words[1:])

    return make


@pytest.fixture
def inputs(config):
    """Maker of Inputs with a backbone that costs nothing."""

    def make(*words: str) -> Inputs:
        made = Inputs(config(*words))
        made.backbone = Backbone()
        return made

    return make


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)
