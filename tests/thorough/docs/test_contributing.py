"""What CONTRIBUTING.md says is enough to add a part is carried out, outside the repository."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
SMALL = "trainer.max_epochs=2 sampler.batch_size=16 head.hidden_dim=16 head.dim=8 evaluation.num_resamples=100"
LOSS = '''
"""A margin on cosines: 1 - cos of a couple, and what exceeds the margin of every other pair."""

import torch

from style_match.utils.errors import UserError
from style_match.models.loss.pairs import LossOutput


class CosineMargin(torch.nn.Module):
    def __init__(self, *, margin: float):
        super().__init__()
        self.margin = margin

    def forward(self, embeddings, labels, side=None):
        left, right = side == 0, side == 1
        similarity = embeddings[left] @ embeddings[right].T
        same = labels[left][:, None] == labels[right][None]
        if not same.any() or same.all():
            raise UserError("A batch without a positive or a negative pair.")
        loss = (1 - similarity[same]).mean() + (similarity[~same] - self.margin).relu().mean()
        return LossOutput(loss, {"violations": (similarity[~same] > self.margin).float().mean()})
'''
POOLING = '''
def first(h_BTD, attention_BT, image_BT):
    """The first attended token."""
    return h_BTD[range(len(h_BTD)), attention_BT.int().argmax(1)].float()
'''


@pytest.fixture(scope="module")
def reader(shell):
    """Their own configs in `own`, their own package beside it, their own photos in FOLDER."""
    shell.draw_folder("FOLDER")
    for name, text in {"losses.py": LOSS, "poolings.py": POOLING}.items():
        file = shell.home / "my_parts" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    shell.environment["PYTHONPATH"] += f":{shell.home}"
    return shell


def write(shell, path: str, /, **content) -> None:
    file = shell.home / "own" / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def train(shell, words: str, run: str) -> Path:
    shell(f"python -m style_match.train --config-dir own {words} {SMALL} hydra.run.dir={run}")
    assert json.loads((shell.home / run / "metrics.json").read_text())["trained"]["mrr"]["value"] > 0
    return shell.home / run


def config(folder: Path) -> dict:
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))


def test_a_loss(reader):
    write(reader, "loss/cosine_margin.yaml", _target_="my_parts.losses.CosineMargin", margin=0.3)
    run = train(reader, "data.num_couples=80 loss=cosine_margin loss.margin=0.4", "loss")
    loss = config(run)["loss"]
    assert (loss["_target_"], loss["margin"]) == ("my_parts.losses.CosineMargin", 0.4)
    assert "violations" in next((run / "csv").rglob("metrics.csv")).read_text(encoding="utf-8").partition("\n")[0]
    assert "cosine_margin" in reader("python -m style_match.train --config-dir own --help")


def test_a_loss_that_is_mistaken(reader):
    start = "python -m style_match.train --config-dir own data.num_couples=80"
    write(reader, "loss/cosine_margin.yaml", _target_="my_parts.losses.CosineMargin", margin=0.3)
    assert "Did you mean loss=cosine_margin?" in reader(f"{start} loss=cosine_margins", code=2)
    assert "Did you mean loss.margin=1?" in reader(f"{start} loss=cosine_margin loss.margn=1", code=2)


def test_a_pooling(reader):
    function = {"_target_": "hydra.utils.get_method", "path": "my_parts.poolings.first"}
    write(reader, "pooling/first.yaml", name="first", function=function)
    assert config(train(reader, "data.num_couples=80 pooling=first", "pooling"))["pooling"]["function"] == function


def test_a_backbone(reader):
    shutil.copytree(ROOT / "style_match/backbone/tiny", reader.home / "checkpoint")
    content = yaml.safe_load((ROOT / "conf/backbone/qwen3_vl_2b.yaml").read_text(encoding="utf-8"))
    content |= {"name": "mine", "path": str(reader.home / "checkpoint"), "max_pixels": 16384}
    write(reader, "backbone/mine.yaml", **content)
    run = train(reader, "data.num_couples=80 backbone=mine", "backbone")
    assert config(run)["backbone"] == content
    write(reader, "backbone/gone.yaml", **content | {"path": str(reader.home / "nowhere")})
    said = reader("python -m style_match.train --config-dir own data.num_couples=80 backbone=gone", code=2)
    assert str(reader.home / "nowhere") in said


def test_a_dataset(reader):
    folder = reader.home / "FOLDER"
    write(reader, "data/mine.yaml", defaults=["couples", "_self_"], name="mine", root=str(folder))
    run = train(reader, "data=mine", "dataset")
    assert (config(run)["data"]["name"], config(run)["data"]["root"]) == ("mine", str(folder))
    write(reader, "data/gone.yaml", defaults=["couples", "_self_"], name="gone", root=str(folder / "gone"))
    assert str(folder / "gone") in reader("python -m style_match.train --config-dir own data=gone", code=2)
    couples = folder / "couples.csv"
    couples.write_text(re.sub(r"(\n[^,]*),[^,\n]*", r"\1,nobody", couples.read_text(encoding="utf-8"), count=1))
    said = reader("python -m style_match.train --config-dir own data=mine", code=2)
    assert "couples.csv" in said and "nobody" in said
