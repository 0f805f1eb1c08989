"""Table 3 as a script without a framework: `python sweep_plain.py GIVEN OUT SEED...`.

A user with features could write it: numpy, torch, scikit-learn and matplotlib, nothing of style_match. GIVEN contains
features.safetensors and given.json (couples of each split, batches of each seed and epoch). OUT gets a folder for each
cell with metrics, ranks, embeddings, checkpoint, curves and two pictures, and the table of all cells.
"""

import copy
import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file, save_file
from sklearn.manifold import TSNE
from torch import nn
from torch.nn import functional as F

ROWS = {"dim256_tau0.1": (256, 0.1), "dim512_tau0.1": (512, 0.1), "dim512_tau0.2": (512, 0.2)}
KS = (5, 10, 20, 30, 50)
PATIENCE, RESAMPLES = 10, 2000


def head(width, dim, seed):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(width, 2048, bias=False), nn.BatchNorm1d(2048), nn.ReLU(), nn.Linear(2048, dim, bias=False)
    )


def embed(model, rows):
    model.eval()
    with torch.no_grad():
        return F.normalize(model(rows), dim=1)


def ranks(left, right):
    similarity = left.double() @ right.double().T
    own = similarity.diagonal()
    return torch.cat([(s >= own[:, None] - 1e-12).sum(1) for s in (similarity, similarity.T)])


def metrics(rank):
    return {f"recall@{k}": (rank <= k).double() for k in KS} | {"mrr": 1 / rank.double(), "median_rank": rank.double()}


def interval(values, drawn):
    per_couple = np.asarray(values).reshape(2, -1).mean(0)
    return np.percentile(per_couple[drawn].mean(1), [2.5, 97.5]).tolist()


def train(given, features, dim, tau, seed, folder):
    left, right = (torch.tensor([pair[i] for pair in given["couples"]["train"]]) for i in (0, 1))
    val = [features[torch.tensor([pair[i] for pair in given["couples"]["val"]])] for i in (0, 1)]
    model = head(features.shape[1], dim, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=1e-3)
    best, best_score, curves = None, -1.0, []
    for epoch, batches in enumerate(given["batches"][str(seed)]):
        model.train()
        losses = []
        for batch in batches:
            rows = F.normalize(model(features[torch.cat([left[batch], right[batch]])]), dim=1)
            f, m = rows.chunk(2)
            loss = F.cross_entropy(f @ m.T / tau, torch.arange(len(f)))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        score = (1 / ranks(*(embed(model, rows) for rows in val)).double()).mean().item()
        curves.append({"epoch": epoch, "train/loss": float(np.mean(losses)), "val/mrr": score})
        if score > best_score:
            best, best_score, best_epoch = copy.deepcopy(model.state_dict()), score, epoch
        elif epoch - best_epoch >= PATIENCE:
            break
    model.load_state_dict(best)
    torch.save({"state_dict": best, "epoch": best_epoch}, folder / "best.pt")
    return model, curves


def main(source, out, seeds):
    given = json.loads((source / "given.json").read_text())
    features = load_file(source / "features.safetensors")["features"]
    test = [features[torch.tensor([pair[i] for pair in given["couples"]["test"]])] for i in (0, 1)]
    drawn = np.random.default_rng(0).integers(len(test[0]), size=(RESAMPLES, len(test[0])))
    frozen = [F.normalize(rows, dim=1) for rows in test]
    frozen_points = TSNE(perplexity=20, init="pca", random_state=0).fit_transform(torch.cat(frozen).numpy())
    frozen_scores = metrics(ranks(*frozen))
    table = {}
    for row, (dim, tau) in ROWS.items():
        for seed in seeds:
            folder = out / f"{row}-{seed}"
            folder.mkdir(parents=True)
            model, curves = train(given, features, dim, tau, seed, folder)
            left, right = embed(model, test[0]), embed(model, test[1])
            save_file({"left": left, "right": right}, folder / "embeddings.safetensors")
            rank = ranks(left, right)
            pq.write_table(pa.table({"rank": rank.numpy()}), folder / "ranks.parquet")
            sections = {
                model_name: {
                    name: {"value": value.mean().item(), "ci95": interval(value, drawn)}
                    for name, value in scores.items()
                }
                for model_name, scores in (("frozen", frozen_scores), ("trained", metrics(rank)))
            }
            (folder / "metrics.json").write_text(json.dumps(sections, indent=2))
            table.setdefault(row, []).append(metrics(rank))
            points = TSNE(perplexity=20, init="pca", random_state=0).fit_transform(torch.cat([left, right]).numpy())
            picture, axes = plt.subplots(1, 2, figsize=(12, 5.4), layout="constrained")
            for axis, places in zip(axes, (frozen_points, points), strict=True):
                for side in np.split(places, 2):
                    axis.scatter(*side.T)
                for a, b in zip(*np.split(places, 2), strict=True):
                    axis.plot([a[0], b[0]], [a[1], b[1]], color="grey", linewidth=0.5)
            picture.savefig(folder / "tsne.png", dpi=160)
            plt.close(picture)
            picture, axes = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
            for axis, name in zip(axes, ("train/loss", "val/mrr"), strict=True):
                axis.plot([line[name] for line in curves])
            picture.savefig(folder / "curves.png", dpi=110)
            plt.close(picture)
            lines = [",".join(curves[0]), *(",".join(map(str, line.values())) for line in curves)]
            (folder / "curves.csv").write_text("\n".join(lines))
    lines = ["| row | " + " | ".join(table["dim256_tau0.1"][0]) + " |"]
    for row, cells in table.items():
        mean = {name: torch.stack([cell[name] for cell in cells]).mean(0) for name in cells[0]}
        shown = [f"{v.mean():.4f} {interval(v, drawn)}" for v in mean.values()]
        lines.append(f"| {row} | " + " | ".join(shown) + " |")
    (out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(seed) for seed in sys.argv[3:]])
