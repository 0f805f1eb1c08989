"""Matcher folders with untrained heads on the tiny backbone, and profiles of drawn pictures."""

import hashlib
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from safetensors.torch import save

from style_match import StyleMatcher
from style_match.cli.targets import conf_dir
from style_match.serving.matcher import make_head, tells_sides
from style_match.serving.matcher_folder import digest
from tests.contract.observe import OLD_MATCHER

WIDTH = 160  # of the tiny backbone's features


def conf(path: str) -> dict:
    return OmegaConf.to_container(OmegaConf.load(conf_dir() / path))


def head_options(name: str) -> dict:
    """A head of conf/head, small."""
    options = conf(f"head/{name}.yaml")
    for place in (options, options.get("each", {})):
        place.update({key: 16 for key in ("dim", "hidden_dim") if key in place})
    return options


def make_matcher(
    root: Path, name="matcher", head="mlp", task="couple", prompt="image", pooling="mean", **changes
) -> Path:
    """A matcher folder with an untrained head."""
    folder = root / name
    folder.mkdir()
    pooled = conf(f"pooling/{pooling}.yaml")
    width = WIDTH * len(pooled.get("parts", [1]))
    torch.manual_seed(0)
    built = make_head(head_options(head), in_dim=width).eval()
    for buffer in built.buffers():
        if buffer.dtype == torch.bool:
            buffer.fill_(True)  # a closed form that was fitted
    for key in ("map", "mean"):
        if hasattr(built, key):
            getattr(built, key).normal_()
    files = {"head.safetensors": save({key: each.contiguous() for key, each in built.state_dict().items()})}
    old = json.loads((OLD_MATCHER / "matcher.json").read_text())
    about = {
        **{key: each for key, each in old.items() if key != "digest"},
        "name": name,
        "task": task,
        "sides": ["female", "male"] if task == "couple" else None,
        "label_column": None if task == "couple" else "fashion_style",
        "head": {
            "options": head_options(head),
            "in_dim": width,
            "dim": built(torch.ones(2, width), torch.tensor([0, 1])).shape[1],
            "tells_sides": task == "couple" and tells_sides(built, width),
        },
        "prompt": conf(f"prompt/{prompt}.yaml"),
        "pooling": pooled,
        "text": None,
        "data": {"options": {**old["data"]["options"], "num_workers": 0}, "demo": None},
        "run": {"id": "0" * 64},
        "files": {key: hashlib.sha256(each).hexdigest() for key, each in files.items()},
        **changes,
    }
    for key, each in files.items():
        (folder / key).write_bytes(each)
    write_about(folder, about)
    return folder


@pytest.fixture
def made(tmp_path: Path):
    """`made(head="mlp", prompt="image", ...)` is a matcher folder."""
    return partial(make_matcher, tmp_path)


@pytest.fixture(scope="session")
def matcher(tmp_path_factory: pytest.TempPathFactory) -> StyleMatcher:
    """The matcher of `made()`; do not change it."""
    return StyleMatcher.from_pretrained(make_matcher(tmp_path_factory.mktemp("matcher")), device="cpu")


def write_about(folder: Path, about: dict) -> None:
    """matcher.json with the digest that belongs to it."""
    (folder / "matcher.json").write_text(json.dumps({**about, "digest": digest(about)}))


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A dataset folder of eight profiles, four of each gender; f0 has two photos, m3 is f0's owner too."""
    root = tmp_path / "people"
    root.mkdir()
    generator = np.random.default_rng(0)
    rows = ["profile_id,image,gender,age,user_id"]
    for number in range(8):
        gender = "f" if number < 4 else "m"
        for photo in range(2 if number == 0 else 1):
            image = f"{number}-{photo}.png"
            picture = np.kron(generator.integers(0, 255, (4, 4, 3), dtype=np.uint8), np.ones((32, 32, 1), np.uint8))
            Image.fromarray(picture).save(root / image)
            user = "u0" if number in (0, 7) else f"u{number}"
            rows.append(f"{gender}{number % 4},{image},{gender},{20 + number},{user}")
    (root / "profiles.csv").write_text("\n".join(rows) + "\n")
    return root
