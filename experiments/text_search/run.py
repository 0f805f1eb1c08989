"""Text search on synthetic worlds, English and Korean: writes results.csv and table.md beside this file.

python -m experiments.text_search.run --scratch FOLDER --worlds 3001 3002 3003
"""

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from experiments.text_search.queries import requests
from style_match.backbone.feature_key import owner_of
from style_match.backbone.inputs import Inputs, TextInputs
from style_match.cli.run_config import read_config
from style_match.data.datamodule import MatchDataModule
from style_match.evaluation.metrics import chance
from style_match.evaluation.text_search import _ranks, first_ranks
from style_match.synthetic.captions import caption
from style_match.synthetic.dataset import couple_profiles
from style_match.synthetic.world import Look, WorldParams
from style_match.training.checkpoints import load_head
from style_match.training.loop import make_head, make_module
from style_match.training.text import TextSpace, fitted

HERE = Path(__file__).parent
KS = (1, 5, 10, 50)
RUNS = {"photos alone": [], "own": ["loss.text_weight=1"], "shared": ["loss.text_weight=1", "text.head=shared"]}


def looks_of(cfg: DictConfig, photos: list[int], inputs: Inputs) -> list[Look]:
    """The drawn looks behind photos."""
    data = cfg.data
    couples = couple_profiles(
        world_seed=data.world_seed, num_couples=data.num_couples, params=WorldParams(**data.world)
    )
    look = {profile.profile_id: profile.look for couple in couples for profile in couple}
    return [look[inputs.folder.photos[photo].profile_id] for photo in photos]


def trained_spaces(run: Path) -> tuple[DictConfig, Inputs, dict[str, TextSpace]]:
    """The text heads of a run: its own where it was trained on texts, and the one fitted to it."""
    cfg = read_config(run)
    OmegaConf.update(cfg, "progress", False)
    inputs = Inputs(cfg)
    data = MatchDataModule.from_folder(inputs.folder, inputs.split)
    head = make_head(cfg, inputs)
    load_head(head, run / "checkpoints/best.ckpt")
    spaces = {"fitted": TextSpace(cfg, inputs, data, head.eval(), None)}
    spaces["fitted"].text_head = fitted(spaces["fitted"])
    if cfg.loss.text_weight:
        matcher = make_module(cfg, inputs)
        assert matcher.text is not None
        load_head(matcher.head, run / "checkpoints/best.ckpt")
        if matcher.text.head is not None:
            load_head(matcher.text.head, run / "checkpoints/best.ckpt", "text.head")
        spaces["trained"] = TextSpace.of(cfg, inputs, data, matcher)
    return cfg, inputs, spaces


def measure(run: Path, split: str) -> list[dict]:
    """Rows (queries, way, metrics) of one run."""
    cfg, inputs, spaces = trained_spaces(run)
    photos = spaces["fitted"].photos(split)
    looks = looks_of(cfg, photos, inputs)
    texts = {f"caption {language}": [caption(look, language) for look in looks] for language in ("en", "ko")}
    right = {kind: [[said == one for one in each] for said in each] for kind, each in texts.items()}
    for language in ("en", "ko"):
        texts[f"short {language}"], right[f"short {language}"] = requests(looks, language, cfg.data.world_seed)
    everything = list(dict.fromkeys(text for each in texts.values() for text in each))
    frozen = TextInputs(inputs, cfg.text).of(everything, [owner_of("queries")] * len(everything), "queries")
    row = {text: number for number, text in enumerate(everything)}
    rows = []
    for kind, asked in texts.items():
        relevant = torch.tensor(right[kind])
        by_chance = chance(_ranks(relevant), KS)
        rows.append({"queries": kind, "way": "chance", **{name: by_chance[name] for name in (*_recalls(), "mrr")}})
        said, own = (frozen[[row[text] for text in each]] for each in (asked, texts["caption en"]))
        ways = {"untrained": _cos(said, inputs.features[photos]), "captions": _cos(said, own)}
        for name, space in spaces.items():
            e_said, e_own = space.texts(said), space.texts(own)
            ways[f"{name}, image"], ways[f"{name}, caption"] = e_said @ space.embedded(split).T, e_said @ e_own.T
            ways[f"{name}, both"] = (ways[f"{name}, image"] + ways[f"{name}, caption"]) / 2
        for way, similarity in ways.items():
            rank = first_ranks(similarity.double(), relevant)
            found = {f"recall@{k}": float((rank <= k).double().mean()) for k in KS}
            rows.append({"queries": kind, "way": way, **found, "mrr": float((1 / rank.double()).mean())})
    return rows


def _cos(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(one, dim=1) @ torch.nn.functional.normalize(other, dim=1).T


def _recalls() -> list[str]:
    return [f"recall@{k}" for k in KS]


def train(scratch: Path, world: int, name: str) -> Path:
    run = scratch / f"{world}-{name.replace(' ', '_')}"
    if not (run / "metrics.json").exists():
        command = [sys.executable, "-m", "style_match.train", f"data.world_seed={world}", f"hydra.run.dir={run}"]
        subprocess.run([*command, *RUNS[name], "progress=false"], check=True, stdout=subprocess.DEVNULL)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--worlds", type=int, nargs="+", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--runs", nargs="+", default=list(RUNS))
    parser.add_argument("--out", type=Path, default=HERE / "results.csv")
    options = parser.parse_args()
    lines = []
    for world in options.worlds:
        for name in options.runs:
            run = train(options.scratch, world, name)
            metrics = json.loads((run / "metrics.json").read_text())
            couples = metrics["val" if options.split == "val" else "trained"]["mrr"]["value"]
            for row in measure(run, options.split):
                lines.append({"world": world, "run": name, "couples_mrr": couples, **row})
            with options.out.open("w", newline="") as file:
                writer = csv.DictWriter(file, list(lines[0]))
                writer.writeheader()
                writer.writerows(lines)
            print(world, name, f"couples MRR {100 * couples:.1f}", flush=True)


if __name__ == "__main__":
    main()
