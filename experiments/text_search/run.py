"""Text search on synthetic worlds, English and Korean: writes results.csv and table.md beside this file.

python -m experiments.text_search.run --scratch FOLDER --worlds 3001 3002 3003
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
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
METRICS = {"recall@1": "R@1", "recall@5": "R@5", "recall@10": "R@10", "recall@50": "R@50", "mrr": "MRR"}
WAYS = {
    ("photos alone", "chance"): "chance",
    ("photos alone", "untrained"): "text through the untrained path",
    ("photos alone", "captions"): "the captions' own features, untrained",
    ("photos alone", "fitted, image"): "`text_weight=0`, text head fitted at export: photos",
    ("photos alone", "fitted, caption"): "the same: captions",
    ("photos alone", "fitted, both"): "the same: both",
    ("own", "trained, image"): "`text_weight=1`, own text head: photos",
    ("own", "trained, caption"): "the same: captions",
    ("own", "trained, both"): "the same: both",
    ("own", "fitted, image"): "`text_weight=1`, text head fitted at export: photos",
}
KINDS = {
    "caption en": "Held-out English captions",
    "caption ko": "Held-out Korean captions",
    "short en": "Short English requests",
    "short ko": "Short Korean requests",
}


def looks_of(cfg: DictConfig, photos: list[int], inputs: Inputs) -> list[Look]:
    """Return the drawn looks of photos."""
    data = cfg.data
    couples = couple_profiles(
        world_seed=data.world_seed, num_couples=data.num_couples, params=WorldParams(**data.world)
    )
    look = {profile.profile_id: profile.look for couple in couples for profile in couple}
    return [look[inputs.folder.photos[photo].profile_id] for photo in photos]


def trained_spaces(run: Path) -> tuple[DictConfig, Inputs, dict[str, TextSpace]]:
    """Return the text heads of a run: the trained one, if there is one, and the one fitted to it."""
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
    """Return rows (queries, way, metrics) of one run."""
    cfg, inputs, spaces = trained_spaces(run)
    photos = spaces["fitted"].photos(split)
    looks = looks_of(cfg, photos, inputs)
    texts = {f"caption {language}": [caption(look, language) for look in looks] for language in ("en", "ko")}
    right = {kind: [[text == other for other in each] for text in each] for kind, each in texts.items()}
    for language in ("en", "ko"):
        texts[f"short {language}"], right[f"short {language}"] = requests(looks, language, cfg.data.world_seed)
    everything = list(dict.fromkeys(text for each in texts.values() for text in each))
    frozen = TextInputs(inputs, cfg.text).of(everything, [owner_of("queries")] * len(everything), "queries")
    row = {text: number for number, text in enumerate(everything)}
    captions = frozen[[row[text] for text in texts["caption en"]]]
    rows = []
    for kind, asked in texts.items():
        relevant, queries = torch.tensor(right[kind]), frozen[[row[text] for text in asked]]
        by_chance = chance(_ranks(relevant), KS)
        found = {name: by_chance[name] for name in (*(f"recall@{k}" for k in KS), "mrr")}
        rows.append({"queries": kind, "way": "chance", **found})
        ways = {"untrained": cosine(queries, inputs.features[photos]), "captions": cosine(queries, captions)}
        for name, space in spaces.items():
            e_queries, e_captions = space.texts(queries), space.texts(captions)
            image, among_captions = e_queries @ space.embedded(split).T, e_queries @ e_captions.T
            ways |= {f"{name}, image": image, f"{name}, caption": among_captions}
            ways[f"{name}, both"] = (image + among_captions) / 2
        for way, similarity in ways.items():
            rank = first_ranks(similarity.double(), relevant).double()
            found = {f"recall@{k}": float((rank <= k).double().mean()) for k in KS}
            rows.append({"queries": kind, "way": way, **found, "mrr": float((1 / rank).mean())})
    return rows


def cosine(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(one, dim=1) @ torch.nn.functional.normalize(other, dim=1).T


def train(scratch: Path, world: int, name: str) -> Path:
    run = scratch / f"{world}-{name.replace(' ', '_')}"
    if not (run / "metrics.json").exists():
        command = [sys.executable, "-m", "style_match.train", f"data.world_seed={world}", f"hydra.run.dir={run}"]
        subprocess.run([*command, *RUNS[name], "progress=false"], check=True, stdout=subprocess.DEVNULL)
    return run


def table(rows: pd.DataFrame) -> str:
    """Return the Markdown tables: percent, means over worlds."""
    worlds = ", ".join(map(str, sorted(rows.world.unique())))
    about = "test split, 150 photos and texts each; percent, mean over worlds."
    out = [f"Synthetic data; worlds {worlds}, {about}"]
    means = 100 * rows.groupby(["run", "queries", "way"])[list(METRICS)].mean()
    for kind, title in KINDS.items():
        out += ["", f"**{title}**", "", f"| | {' | '.join(METRICS.values())} |", "|---|" + "---:|" * len(METRICS)]
        for (run, way), name in WAYS.items():
            finds_itself = kind == "caption en" and ("caption" in way or "both" in way)
            if (run, kind, way) in means.index and not finds_itself:
                out.append(f"| {name} | {' | '.join(f'{v:.1f}' for v in means.loc[run, kind, way])} |")
    out += ["", "**Couples, MRR of the test split**", "", "| run | MRR | worlds |", "|---|---:|---|"]
    for run in rows.run.unique():
        values = 100 * rows[rows.run == run].groupby("world").couples_mrr.first()
        spread = f" +- {values.std():.1f} sd" if len(values) > 1 else ""
        weight = {"photos alone": "0", "own": "1"}.get(run, "1, shared head")
        each = ", ".join(f"{value:.1f}" for value in values)
        out.append(f"| `loss.text_weight={weight}` | {values.mean():.1f}{spread} | {each} |")
    return "\n".join(out) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--worlds", type=int, nargs="+", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--runs", nargs="+", default=list(RUNS))
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results.csv and table.md")
    given = parser.parse_args()
    rows = []
    for world in given.worlds:
        for name in given.runs:
            run = train(given.scratch, world, name)
            metrics = json.loads((run / "metrics.json").read_text())
            couples = metrics["val" if given.split == "val" else "trained"]["mrr"]["value"]
            rows += [{"world": world, "run": name, "couples_mrr": couples, **row} for row in measure(run, given.split)]
            print(world, name, f"couples MRR {100 * couples:.1f}", flush=True)
    found = pd.DataFrame(rows)
    found.to_csv(given.out / "results.csv", index=False)
    (given.out / "table.md").write_text(table(found), encoding="utf-8")


if __name__ == "__main__":
    main()
