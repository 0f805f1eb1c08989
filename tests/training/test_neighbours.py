"""The photos that loggers show are of the answers that were scored."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from style_match.training.neighbours import photo_strips

SIDE_PX = 40
COLOURS = {"f0": (200, 0, 0), "m0": (0, 0, 200), "m1": (200, 200, 0), "m2": (0, 200, 200)}


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Any, Any]:
    """One query f0 that was answered m2, m0, m1 (say, by CSLS), though m1 is its nearest by the cosine."""
    for name, colour in COLOURS.items():
        Image.new("RGB", (SIDE_PX, SIDE_PX), colour).save(tmp_path / f"{name}.png")
    result = SimpleNamespace(
        query_ids=("f0",),
        partner_ids=("m0",),
        answer_ids=(("m2", "m0", "m1"),),
        ranks=SimpleNamespace(direction=torch.tensor([0]), rank=torch.tensor([2]), gallery=torch.tensor([3])),
    )
    folder = SimpleNamespace(task="couple", photos_of=lambda name: [SimpleNamespace(path=tmp_path / f"{name}.png")])
    return SimpleNamespace(synthetic=True, folder=folder), SimpleNamespace(trained=result, frozen=None)


def test_a_strip_shows_the_answers_that_the_rank_is_of(scored):
    images = {"num_queries": 1, "num_answers": 3, "side_px": SIDE_PX}
    cfg = OmegaConf.create({"logger": {"log_images": True, "images": images}, "data": {"max_source_pixels": 10**6}})
    (strip,) = photo_strips(cfg, *scored)
    assert "rank 2 of 3" in strip.caption
    width = strip.picture.width // 5
    shown = [strip.picture.getpixel((i * width + width // 2, width // 2)) for i in range(5)]
    assert shown == [COLOURS[name] for name in ("f0", "m0", "m2", "m0", "m1")]
