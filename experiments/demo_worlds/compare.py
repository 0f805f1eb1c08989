"""Is the demo worth running? `python experiments/demo_worlds/compare.py --scratch FOLDER`

Trains the defaults on ten synthetic worlds that nothing was tuned on, and prints the frozen backbone, the trained head
and an oracle that ranks by the true taste behind every photo, as means over worlds with t intervals. The same command
continues after an interruption.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from hydra.utils import instantiate
from scipy import stats

from style_match.cli.run_config import read_config

HERE = Path(__file__).parent


def train(world_seed: int, scratch: Path, overrides: list[str]) -> Path:
    """Return the run folder of a world; a finished run is not repeated."""
    folder = scratch / "runs" / f"world{world_seed}"
    if not (folder / "metrics.json").exists():
        if folder.exists():
            words = [f"run={folder}"] + (["ckpt_path=last"] if (folder / "checkpoints/last.ckpt").exists() else [])
        else:
            words = [f"data.world_seed={world_seed}", f"hydra.run.dir={folder}", *overrides]
        environment = {**os.environ, "STYLE_MATCH_CACHE": str(scratch / "cache")}
        command = [sys.executable, "-m", "style_match.train", "progress=false", *words]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    return folder


def oracle(folder: Path) -> dict:
    """Return metrics of the run's test split when profiles are ranked by the cosine of their true tastes."""
    dataset = Path(json.loads((folder / "provenance.json").read_text())["data"]["folder"])
    taste = pd.read_csv(dataset / "taste.csv", index_col="profile_id", dtype={"profile_id": str})
    ranks = pd.read_parquet(folder / "ranks.parquet").query("model == 'frozen' and direction == 'left_to_right'")
    couples = list(zip(ranks["query"], ranks["partner"], strict=True))
    ids = sorted({profile_id for couple in couples for profile_id in couple})
    tastes = torch.nn.functional.normalize(torch.tensor(taste.loc[ids].to_numpy(), dtype=torch.float32), dim=1)
    return instantiate(read_config(folder).evaluation).couples(tastes, ids, couples).metrics


def mean_with_interval(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """Return the mean over worlds and the half width of its Student t interval."""
    half = stats.sem(values) * stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    return float(values.mean()), float(half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder for worlds, features and runs")
    scratch = parser.parse_args().scratch.absolute()
    plan = yaml.safe_load((HERE / "worlds.yaml").read_text())
    values: dict[str, list[list[float]]] = {}
    for world_seed in plan["world_seeds"]:
        folder = train(world_seed, scratch, plan["overrides"])
        sections = json.loads((folder / "metrics.json").read_text()) | {"oracle": oracle(folder)}
        for model in ("chance", "frozen", "trained", "oracle"):
            row = [sections[model][metric]["value"] for metric in plan["metrics"]]
            values.setdefault(model, []).append(row)
        shown = "  ".join(f"{model} {100 * rows[-1][0]:.1f}" for model, rows in values.items())
        print(f"world {world_seed}: recall@5 in percent: {shown}", flush=True)
    table = {model: 100 * np.array(rows) for model, rows in values.items()}
    table["trained - frozen"] = table["trained"] - table["frozen"]
    heads = "".join(f"{metric:>16}" for metric in plan["metrics"])
    num_worlds = len(plan["world_seeds"])
    print(f"\nSynthetic data; {num_worlds} worlds, percent, mean and {plan['confidence']:.0%} t interval over worlds")
    print(f"{'':18}{heads}")
    for model, rows in table.items():
        cells = [mean_with_interval(column, plan["confidence"]) for column in rows.T]
        print(f"{model:18}" + "".join(f"{f'{mean:.1f} +- {half:.1f}':>16}" for mean, half in cells))
    factor = table["trained"].mean(0) / table["frozen"].mean(0)
    print(f"{'trained / frozen':18}" + "".join(f"{ratio:>15.2f}x" for ratio in factor))


if __name__ == "__main__":
    main()
