"""Runs of the hybrid experiment as results.csv and table.md.

python -m experiments.hybrid.table RUN RUN ...
"""

import json
import sys
from pathlib import Path

import pandas as pd
import yaml

HERE = Path(__file__).parent
METRICS = {"recall@5": "R@5", "recall@10": "R@10", "recall@20": "R@20", "mrr": "MRR"}
NAMES = {
    "image/mean/mlp": "image alone",
    "metadata/mean/mlp": "metadata alone",
    "image_metadata/mean/mlp": "image and metadata in one prompt, mean over all tokens",
    "image_metadata/hybrid/mlp": "`recipe=hybrid`: image and metadata features joined",
    "image_metadata/hybrid/weighted": "`recipe=hybrid_score`: a head each, similarities weighted 0.5",
}


def row_of(run: Path) -> dict:
    config = yaml.safe_load((run / "config.yaml").read_text())
    metrics = json.loads((run / "metrics.json").read_text())["trained"]
    head = config["head"]["_target_"].split(".")[-2]
    features = f"{config['prompt']['name']}/{config['pooling']['name']}/{head}"
    values = {metric: metrics[metric]["value"] for metric in METRICS}
    return {"world": config["data"]["world_seed"], "seed": config["seed"], "features": features, **values}


def table(rows: pd.DataFrame) -> str:
    worlds = ", ".join(map(str, sorted(rows.world.unique())))
    out = [f"Synthetic data; test couples of worlds {worlds}; percent, mean over worlds."]
    out += ["", f"| features | {' | '.join(METRICS.values())} | MRR of each world |", "|---|" + "---:|" * 4 + "---|"]
    for features, name in NAMES.items():
        percent = 100 * rows[rows.features == features][list(METRICS)]
        cells = [f"{value:.1f}" for value in percent.mean()]
        out.append(f"| {' | '.join([name, *cells])} | {', '.join(f'{value:.1f}' for value in percent.mrr)} |")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    found = pd.DataFrame(map(row_of, map(Path, sys.argv[1:]))).sort_values(["world", "features"])
    found.to_csv(HERE / "results.csv", index=False)
    (HERE / "table.md").write_text(table(found))
    print(table(found), end="")
