"""Run folders as the steps leave them, with ranks drawn at random: what the report reads, without any training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

MLP = "style_match.models.head.mlp.MLP"
IDENTITY = "style_match.models.head.identity.Identity"
CONFIG: dict[str, Any] = {
    "seed": 0,
    "split": {"seed": 0, "fractions": [0.7, 0.15, 0.15], "folds": None, "fold": None, "store": None},
    "data": {
        "task": "couple",
        "root": None,
        "image_root": None,
        "label_column": None,
        "world_seed": 0,
        "max_source_pixels": 10**6,
    },
    "backbone": {"name": "tiny", "device": "auto"},
    "pooling": {"name": "mean", "function": {"path": "style_match.backbone.pooling.mean"}},
    "head": {"_target_": MLP, "dim": 512, "hidden_dim": 64},
    "loss": {"_target_": "style_match.models.loss.infonce.InfoNCE", "temperature": 0.2},
    "sampler": {"_target_": "style_match.data.sampler.pair.PairSampler", "batch_size": 16},
    "optimizer": {"lr": 5e-5},
    "evaluation": {"confidence": 0.95},
    "logger": {"csv": {}},
}
KS = (1, 5, 10)


def write_run(
    folder: Path,
    *,
    ranks: Mapping[str, Sequence[int]] | None = None,
    num_couples: int = 12,
    data: str = "d" * 64,
    root: Path | str | None = None,
    synthetic: bool = True,
    choices: Mapping[str, Any] | None = None,
    items: Mapping[str, int] | None = None,
    names: Sequence[str] | None = None,
    gallery: int | None = None,
    key: str = "k" * 64,
    code: str = "c" * 64,
    models: Sequence[str] = ("frozen", "trained"),
    skill: float = 1.0,
    **config: Any,
) -> Path:
    """A finished run; `config` are dotted paths with `__` for dots, such as `head__dim=256`.

    Couple i is `f<names[i]>` and `m<names[i]>`, a cluster of its own; queries are all left ones, then all right ones.
    The dataset folder is `root`, one that is not there by default. Frozen ranks depend on the test set alone, trained
    ones also on the seed, head and loss; `ranks` gives them.
    """
    names = names or [f"{i:03d}" for i in range(num_couples)]
    size = gallery or len(names)
    cfg = with_options(CONFIG, config)
    test_set = (data, cfg["split"]["seed"], cfg["split"]["fold"])
    metrics: dict[str, Any] = {"chance": chance(size, len(names))}
    rows, answers, points = [], [], []
    for model in models:
        own = (cfg["seed"], cfg["head"], cfg["loss"]) if model == "trained" else cfg["pooling"]["name"]
        generator = np.random.default_rng(list(json.dumps([test_set, own, model]).encode()))
        drawn = 1 + np.minimum(generator.exponential(size / 4 / skill, 2 * len(names)).astype(int), size - 1)
        rank = np.asarray((ranks or {}).get(model, drawn))
        metrics[model] = section(rank, size)
        for query, (place, direction) in enumerate(
            (place, direction) for direction in ("left_to_right", "right_to_left") for place in range(len(names))
        ):
            ask, answer = ("f", "m") if direction == "left_to_right" else ("m", "f")
            row = {"model": model, "query": ask + names[place], "partner": answer + names[place]}
            row["direction"] = direction
            rows.append(
                row | {"rank": int(rank[query]), "gallery": size, "similarity": -float(rank[query]), "cluster": place}
            )
            others = [answer + name for name in generator.permutation(names) if name != names[place]]
            others.insert(int(rank[query]) - 1, row["partner"])
            answers += [row | {"place": i, "answer": one} for i, one in enumerate(others[:10], start=1)]
        for side, group in (("f", "female"), ("m", "male")):
            points += [
                {"model": model, "profile_id": side + name, "group": group, "x": float(i), "y": float(rank[i])}
                for i, name in enumerate(names)
            ]
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(cfg, sort_keys=False))
    provenance = {
        "synthetic": synthetic,
        "choices": {"row": None, "recipe": None, **(choices or {})},
        "data": {
            "folder": str(root or f"/gone/{data[:8]}"),
            "fingerprint": data,
            "items": {"train": 56, "test": 12, **(items or {})},
        },
        "features": {"key": key},
        "code": code,
        "git": None,
        "device": "cpu",
        "wall_time_s": 1.0,
    }
    (folder / "provenance.json").write_text(json.dumps(provenance))
    for name, table in (("ranks", rows), ("answers", answers), ("tsne", points)):
        pq.write_table(pa.Table.from_pylist(table), folder / f"{name}.parquet")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def with_options(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    made = deepcopy(dict(config))
    for path, value in options.items():
        *above, last = path.split("__") if not path.endswith("_target_") else (path.split("__", 1)[0], "_target_")
        node = made
        for name in above:
            node = node[name]
        node[last] = value
    return made


def chance(gallery: int, num_couples: int) -> dict[str, Any]:
    cells = {f"recall@{k}": cell(k / gallery) for k in KS if k <= gallery}
    cells["mrr"] = cell(sum(1 / r for r in range(1, gallery + 1)) / gallery)
    return {**cells, "queries": 2 * num_couples, "gallery": gallery}


def section(rank: np.ndarray, gallery: int) -> dict[str, Any]:
    cells = {f"recall@{k}": cell(float((rank <= k).mean())) for k in KS if k <= gallery}
    return {**cells, "mrr": cell(float((1 / rank).mean())), "queries": len(rank), "gallery": gallery}


def cell(value: float) -> dict[str, Any]:
    return {"value": value, "ci95": [value, value]}


def read_ranks(folder: Path, model: str) -> dict[tuple[str, str], int]:
    """(query, direction) -> rank, read anew."""
    rows = pq.read_table(folder / "ranks.parquet").to_pylist()
    return {(row["query"], row["direction"]): row["rank"] for row in rows if row["model"] == model}


def rewrite_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def table3(folder: Path, seeds: Sequence[int] = (0, 1, 2), **options: Any) -> dict[tuple[str, int], Path]:
    """A sweep of table 3."""
    rows = {"dim256_tau0.1": (256, 0.1), "dim512_tau0.1": (512, 0.1), "dim512_tau0.2": (512, 0.2)}
    return {
        (row, seed): write_run(
            folder / f"row={row},seed={seed}", seed=seed, head__dim=dim, loss__temperature=tau, **options
        )
        for row, (dim, tau) in rows.items()
        for seed in seeds
    }


def spec(table: str) -> dict[str, Any]:
    """A table as it is shipped, over the metrics that these runs have."""
    from style_match.cli import main

    text = (main.conf_dir() / "table" / f"{table}.yaml").read_text(encoding="utf-8")
    made = yaml.safe_load(text)[table]
    return made if made["task"] == "style" else made | {"metrics": ["recall@5", "recall@10", "mrr"]}


def write_style_run(folder: Path) -> Path:
    """Eight profiles of two classes, and one called "alone" that is alone in its class but is often an answer."""
    from safetensors.numpy import save_file

    write_run(folder, data__task="style", loss__temperature=0.2, num_couples=4)
    ids = [f"p{i}" for i in range(8)]
    rows, answers = [], []
    for model in ("frozen", "trained"):
        for i, name in enumerate(ids):
            mates = [other for other in ids if other != name and ids.index(other) % 2 == i % 2]
            row = {"model": model, "query": name, "partner": mates[0], "direction": "among_profiles"}
            first = ["alone", mates[0], *(other for other in ids if other not in (name, mates[0]))]
            scored = {"rank": 2, "gallery": 8, "similarity": 0.5, "cluster": i, "precision@5": 0.4, "map@r": 0.3}
            rows.append(row | scored)
            answers += [row | {"place": place, "answer": one} for place, one in enumerate(first, start=1)]
    for name, table in (("ranks", rows), ("answers", answers)):
        pq.write_table(pa.Table.from_pylist(table), folder / f"{name}.parquet")
    header = {"ids": json.dumps([*ids, "alone"])}
    save_file({"embeddings": np.eye(9, dtype=np.float32)}, folder / "embeddings.safetensors", metadata=header)
    cells = {"precision@5": cell(0.4), "mrr": cell(0.5), "queries": 8, "gallery": 8}
    (folder / "metrics.json").write_text(json.dumps(dict.fromkeys(("chance", "frozen", "trained"), cells)))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["sampler"]["_target_"] = "style_match.data.sampler.pk.PKSampler"
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder
