"""Needs of ten million profiles: `python experiments/scale/plan.py` writes plan.md from plan.yaml and measured results.

Measured: experiments/benchmarks/results (store, evaluation, extraction), experiments/index/results.csv, folder.csv.
Assumed: everything in plan.yaml, with its source.
"""

import json
import math
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import pandas as pd
import yaml

HERE = Path(__file__).resolve().parent
EXPERIMENTS = HERE.parent
DAYS = 30
PREPARED = "photo read, decoded, resized and cut into patches, CPU time"


def plan() -> str:
    """Return the text of plan.md."""
    given = yaml.safe_load((HERE / "plan.yaml").read_text(encoding="utf-8"))
    figures = {"given": given, "photos": given["profiles"] * given["photos_per_profile"]}
    for part in (embedding, storage, limits):
        figures |= part(given, figures)
    options = {"trim_blocks": True, "lstrip_blocks": True, "keep_trailing_newline": True}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, **options)
    return environment.from_string((HERE / "plan.md.jinja").read_text(encoding="utf-8")).render(figures)


def embedding(given: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """Rates, hours and costs of the backbone."""
    flops, extraction = flops_a_photo(given), measured("extraction")
    decode_s = [fact(extraction, f"{PREPARED}, {which}") / 1e3 for which in ("median", "greatest")]
    gpus = []
    for name, gpu in given["gpus"].items():
        rate = gpu["peak_tflops"] * 1e12 * gpu["utilisation"] / flops
        hours = figures["photos"] / rate / 3600
        a_day = hours * given["daily_share"]
        gpus.append(
            {
                "name": name,
                "share": round(100 * gpu["utilisation"]),
                "peak": gpu["peak_tflops"],
                "rate": rate,
                "cores": [math.ceil(rate * seconds) for seconds in decode_s],
                "cores_there": gpu["vcpus"] // 2,
                "hours": hours,
                "usd": hours * gpu["usd_per_hour"],
                "hours_a_day": a_day,
                "usd_a_month": DAYS * a_day * gpu["usd_per_hour"],
            }
        )
    row = [row for row in extraction["comparisons"] if "forward" in row["against"]][-1]
    extract = {"ratio": row["ratio"]["median"], "size": row["size"]}
    return {"tflop": flops / 1e12, "gpus": gpus, "extract": extract, "decode_ms": [1e3 * s for s in decode_s]}


def flops_a_photo(given: dict[str, Any]) -> float:
    """Operations of Qwen3-VL-2B, by the formula of the extraction benchmark."""
    model_flops = runpy.run_path(str(EXPERIMENTS / "benchmarks" / "extraction_flops.py"))["model_flops"]
    full = runpy.run_path(str(EXPERIMENTS / "full_size" / "check.py"))
    text = SimpleNamespace(**full["FULL_TEXT"])
    fixed = {"in_channels": 3, "temporal_patch_size": 2, "patch_size": 16, "spatial_merge_size": 2}
    vision = SimpleNamespace(**full["FULL_VISION"], **fixed, out_hidden_size=text.hidden_size)
    patches = (given["photo"]["side_px"] // 16) ** 2
    tokens = patches // 4 + given["photo"]["text_tokens"]
    return model_flops(SimpleNamespace(vision_config=vision, text_config=text), patches, tokens)


def storage(given: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """Sizes of store and index, and the cost of a month."""
    qdrant, price, photos = given["qdrant"], given["storage_usd_per_gb_month"], figures["photos"]
    row_bytes = 4 * given["feature_dim"] * given["poolings"] + 32 + 32  # float32 vectors, address, owner
    features_gb, photo_gb = photos * row_bytes / 1e9, photos * given["photo_mb"] / 1e3
    vectors_gb = given["profiles"] * given["embedding_dim"] * 4 / 1e9
    memory_gb, node_gb = vectors_gb * qdrant["overhead"], qdrant["node_memory_gb"] * qdrant["usable_share"]
    shards = math.ceil(memory_gb / node_gb)
    nodes = shards * qdrant["replicas"]
    graph = index_figures("faiss hnsw, ef_search 64")
    graph_bytes = graph["disk_gb"] * 1e9 / 1_000_000 - 4 * 256
    wider = given["profiles"] / 1_000_000 * given["embedding_dim"] / 256
    daily = next(gpu for gpu in figures["gpus"] if gpu["name"] == given["daily_gpu"])
    return {
        "row_bytes": row_bytes,
        "features_gb": features_gb,
        "vectors_gb": vectors_gb,
        "memory_gb": memory_gb,
        "node_gb": node_gb,
        "shards": shards,
        "nodes": nodes,
        "graph_bytes": graph_bytes,
        "faiss_gb": vectors_gb + given["profiles"] * graph_bytes / 1e9,
        "faiss_peak": graph["peak_gb"] / graph["disk_gb"],
        "build_cpu_s": graph["build_cpu_s"],
        "build_hours": graph["build_cpu_s"] * wider / 3600,
        "exact_ms": index_figures("exact")["alone_ms"],
        "monthly": {
            f"photos in object storage, {photo_gb:,.0f} GB": photo_gb * price["object"],
            f"features on a shared disk, {features_gb:,.0f} GB": features_gb * price["shared_disk"],
            f"Qdrant, {nodes} nodes": nodes * qdrant["usd_per_node_hour"] * given["hours_per_month"],
            f"new photos, {daily['name']}": daily["usd_a_month"],
        },
    }


def limits(given: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """Times and memory of reading, opening and ranking at the largest measured size."""
    folder = pd.read_csv(HERE / "folder.csv").query("state == 'every photo known'")
    first, last = folder.iloc[0], folder.iloc[-1]
    num = int(last.profiles)
    store = measured("store")
    ranks = next(row for row in measured("evaluation")["growth"] if row["what"].startswith("exact ranks"))
    size, seconds = ranks["sizes"][-1], ranks["seconds"][-1]
    highest = fact(store, "memory of its process at the highest")
    return {
        "read_num": num,
        "read_s": (last.tables_s + last.photos_s + last.split_s) / num,
        "read_kb": 1e3 * (last.peak_mb - first.peak_mb) / (num - first.profiles),
        "open_s": fact(store, "store opened"),
        "open_mb": highest - fact(store, "of it before the store is opened"),
        "scale": figures["photos"] / 1_000_000,
        "ranks_s": seconds,
        "ranks_size": size,
        # all profiles are queries, each against the half of the other side
        "ranks_days": seconds * given["profiles"] / size * given["profiles"] / 2 / size / 86400,
    }


def measured(part: str) -> dict[str, Any]:
    """Return the results of a benchmark."""
    return json.loads((EXPERIMENTS / "benchmarks" / "results" / f"{part}.json").read_text(encoding="utf-8"))


def fact(part: dict[str, Any], what: str) -> float:
    """Return a fact of the largest measured size."""
    return next(row["value"] for row in reversed(part["facts"]) if row["what"].startswith(what))


def index_figures(index: str) -> pd.Series:
    """Return measure -> median of an index of 1,000,000 vectors."""
    rows = pd.read_csv(EXPERIMENTS / "index" / "results.csv")
    rows = rows[(rows["index"] == index) & (rows["size"] == 1_000_000)]
    return rows.set_index("measure")["median"].astype(float)


if __name__ == "__main__":
    (HERE / "plan.md").write_text(plan(), encoding="utf-8")
    print(HERE / "plan.md")
