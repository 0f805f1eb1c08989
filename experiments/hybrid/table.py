"""Runs of the hybrid experiment as results.csv and the table in README.md.

python -m experiments.hybrid.table RUN RUN ...
"""

import csv
import json
import sys
from pathlib import Path
from statistics import mean

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


def main() -> None:
    rows = sorted((row_of(Path(run)) for run in sys.argv[1:]), key=lambda row: (row["world"], row["features"]))
    with (HERE / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    worlds = sorted({row["world"] for row in rows})
    out = [f"Synthetic data; test couples of worlds {', '.join(map(str, worlds))}; percent, mean over worlds."]
    out += ["", f"| features | {' | '.join(METRICS.values())} | MRR of each world |", "|---|" + "---:|" * 4 + "---|"]
    for features, name in NAMES.items():
        own = [row for row in rows if row["features"] == features]
        cells = [f"{100 * mean(row[metric] for row in own):.1f}" for metric in METRICS]
        each = ", ".join(f"{100 * row['mrr']:.1f}" for row in own)
        out.append(f"| {name} | {' | '.join(cells)} | {each} |")
    (HERE / "table.md").write_text("\n".join(out) + "\n")
    print((HERE / "table.md").read_text(), end="")


if __name__ == "__main__":
    main()
