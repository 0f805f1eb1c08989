"""A loss, a pooling, a backbone and a dataset of one's own, outside the repository, as CONTRIBUTING.md describes them.

`tests/thorough/docs/test_contributing.py` adds each part alone, in a process of its own.
"""

import json
import shutil
from pathlib import Path

import yaml

from style_match.cli import main
from tests.integration.mistakes.world import draw_good
from tests.thorough.docs.test_contributing import LOSS, POOLING


def write(path: Path, /, **content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def test_parts_of_ones_own_are_trained_with(run_step, tmp_path: Path, monkeypatch):
    package, own = tmp_path / "parts_of_mine", tmp_path / "own"
    package.mkdir()
    (package / "losses.py").write_text(LOSS, encoding="utf-8")
    (package / "poolings.py").write_text(POOLING, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    draw_good(tmp_path / "FOLDER")
    shutil.copytree(Path(main.__file__).parents[1] / "backbone" / "tiny", tmp_path / "checkpoint")
    function = {"_target_": "hydra.utils.get_method", "path": "parts_of_mine.poolings.first"}
    backbone = yaml.safe_load((main.conf_dir() / "backbone" / "qwen3_vl_2b.yaml").read_text(encoding="utf-8"))
    backbone |= {"name": "mine", "path": str(tmp_path / "checkpoint"), "max_pixels": 16384}
    write(own / "loss" / "cosine_margin.yaml", _target_="parts_of_mine.losses.CosineMargin", margin=0.3)
    write(own / "pooling" / "first.yaml", name="first", function=function)
    write(own / "backbone" / "mine.yaml", **backbone)
    write(own / "data" / "mine.yaml", defaults=["couples", "_self_"], name="mine", root=str(tmp_path / "FOLDER"))
    words = ("loss=cosine_margin", "loss.margin=0.4", "pooling=first", "backbone=mine", "data=mine")
    small = ("trainer.max_epochs=1", "sampler.batch_size=8", "head.hidden_dim=16", "head.dim=8")
    run_step("train", "--config-dir", own, *words, *small, "hydra.run.dir=run", cwd=tmp_path)
    run = tmp_path / "run"
    assert json.loads((run / "metrics.json").read_text())["trained"]["mrr"]["value"] > 0
    config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
    assert (config["loss"]["_target_"], config["loss"]["margin"]) == ("parts_of_mine.losses.CosineMargin", 0.4)
    assert config["pooling"]["function"] == function and config["backbone"] == backbone
    assert (config["data"]["name"], config["data"]["root"]) == ("mine", str(tmp_path / "FOLDER"))
    assert "violations" in next((run / "csv").rglob("metrics.csv")).read_text(encoding="utf-8").partition("\n")[0]
    assert "cosine_margin" in run_step("train", "--config-dir", own, "--help", cwd=tmp_path).stdout
