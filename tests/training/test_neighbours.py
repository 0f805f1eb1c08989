"""The photos that loggers show are of the answers that were scored."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from style_match.training.loggers import photos

SIDE_PX = 40
COLOURS = {"f0": (200, 0, 0), "m0": (0, 0, 200), "m1": (200, 200, 0), "m2": (0, 200, 200)}


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Any, Any]:
    """One query f0 that was answered m2, m0, m1 (say, by CSLS), though m1 is its nearest by the cosine."""
    for name, colour in COLOURS.items():
        Image.new("RGB", (SIDE_PX, SIDE_PX), colour).save(tmp_path / f"{name}.png")
    gallery = SimpleNamespace(
        profile_ids=tuple(COLOURS), num_left=1, known=torch.tensor([[0, 0]]), right_ids=("m0", "m1", "m2")
    )
    result = SimpleNamespace(
        query_ids=("f0",),
        partner_ids=("m0",),
        answer_ids=(("m2", "m0", "m1"),),
        ranks=SimpleNamespace(direction=torch.tensor([0]), rank=torch.tensor([2]), gallery=torch.tensor([3])),
    )
    scorer = SimpleNamespace(
        inputs=SimpleNamespace(synthetic=True),
        folder=SimpleNamespace(photos_of=lambda name: [SimpleNamespace(path=tmp_path / f"{name}.png")]),
        data=SimpleNamespace(gallery=lambda _: gallery),
    )
    embeddings = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [0.5, 1], [1, 0], [0, 1]]), dim=1)
    scores = SimpleNamespace(trained=result, frozen=None, embedded=SimpleNamespace(embeddings=embeddings))
    return scorer, scores


def test_a_strip_shows_the_answers_that_the_rank_is_of(scored):
    images = {"num_queries": 1, "num_answers": 3, "side_px": SIDE_PX}
    cfg = OmegaConf.create({"logger": {"log_images": True, "images": images}, "data": {"max_source_pixels": 10**6}})
    (strip,) = photos(cfg, *scored)
    assert "rank 2 of 3" in strip.caption
    width = strip.picture.width // 5
    shown = [strip.picture.getpixel((i * width + width // 2, width // 2)) for i in range(5)]
    assert shown == [COLOURS[name] for name in ("f0", "m0", "m2", "m0", "m1")]
