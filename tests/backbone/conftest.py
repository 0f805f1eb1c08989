"""A small random checkpoint, the backbone that loads it, and what plain transformers makes of it."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer, Qwen3VLProcessor

from style_match.backbone.qwen3_vl import Qwen3VL
from tests.backbone import random_checkpoint

OPTIONS: dict[str, Any] = {
    "dtype": "fp32",
    "attention": "sdpa",
    "fused_patch_embedding": True,
    "image_backend": "pil",
    "min_pixels": 2048,
    "max_pixels": 16384,
    "device": "cpu",
    "layer": None,
}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder that no test may change."""
    folder = tmp_path_factory.mktemp("checkpoint")
    random_checkpoint.make(folder)
    return folder


@pytest.fixture
def copied(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint, to be broken."""
    return Path(shutil.copytree(checkpoint, tmp_path / "copied"))


@pytest.fixture(scope="session")
def load() -> Callable[..., Qwen3VL]:
    """Load a folder with the usual options, some of them changed."""
    return lambda folder, **changes: Qwen3VL(folder=folder, **(OPTIONS | changes))


@pytest.fixture(scope="session")
def backbone(checkpoint: Path, load: Callable[..., Qwen3VL]) -> Qwen3VL:
    return load(checkpoint)


@pytest.fixture(scope="session")
def photos() -> list[Image.Image]:
    """Noise of mixed sizes: enlarged, kept, reduced, upright and lying."""
    drawn = np.random.default_rng(0)
    sizes = [(40, 30), (96, 128), (128, 96), (300, 500)]
    return [Image.fromarray(drawn.integers(0, 256, (height, width, 3), np.uint8)) for width, height in sizes]


class OfficialProcessor(Qwen3VLProcessor):
    """The official processor without its part for videos, which needs torchvision."""

    video_processor = None

    @classmethod
    def get_attributes(cls):
        return ["image_processor", "tokenizer"]

    def __init__(self, image_processor, tokenizer, chat_template):
        super().__init__(image_processor, tokenizer, chat_template=chat_template)


class Plain:
    """What transformers computes by itself, with the official processor and no code of this project."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        size = {"shortest_edge": OPTIONS["min_pixels"], "longest_edge": OPTIONS["max_pixels"]}
        self.images = AutoImageProcessor.from_pretrained(folder, backend="pil", size=size)
        self.template = json.loads((folder / "chat_template.json").read_text())["chat_template"]

    def processor(self, padding_side: str) -> OfficialProcessor:
        tokenizer = AutoTokenizer.from_pretrained(self.folder, padding_side=padding_side)
        return OfficialProcessor(self.images, tokenizer, self.template)

    def inputs(self, photos: list[Image.Image], prompts: list[str], padding_side: str) -> dict[str, torch.Tensor]:
        processor = self.processor(padding_side)
        return dict(processor(text=list(prompts), images=photos or None, padding=True, return_tensors="pt"))

    @torch.no_grad()
    def hidden(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.model(**inputs).last_hidden_state


@pytest.fixture(scope="session")
def plain(checkpoint: Path) -> Plain:
    return Plain(checkpoint)


@pytest.fixture(scope="session")
def edit() -> Callable[[Path, Callable[[dict], None]], None]:
    """Change a JSON file in place."""

    def apply(path: Path, change: Callable[[dict], None]) -> None:
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content), encoding="utf-8")

    return apply


@pytest.fixture
def plain_user():
    """A context in which file permissions hold, also if the tests run as root."""

    @contextmanager
    def drop():
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    return drop
