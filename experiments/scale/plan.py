"""What ten million profiles need: `python experiments/scale/plan.py` writes plan.md from plan.yaml and what was measured.

Measured: experiments/benchmarks/results (store, evaluation, extraction), experiments/index/results.csv, folder.csv.
Assumed: everything in plan.yaml, with where it is from.
"""

import csv
import json
import math
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

HERE = Path(__file__).parent
EXPERIMENTS = HERE.parent
sys.path.append(str(EXPERIMENTS / "benchmarks"))
DAYS = 30


def main() -> None:
    given = yaml.safe_load((HERE / "plan.yaml").read_text(encoding="utf-8"))
    measured = {
        part: json.loads((EXPERIMENTS / "benchmarks" / "results" / f"{part}.json").read_text(encoding="utf-8"))
        for part in ("store", "evaluation", "extraction")
    }
    text = "\n".join(
        ["# Ten million profiles", "", *compute(given, measured), *stores(given, measured), *breaks(given, measured)]
    )
    (HERE / "plan.md").write_text(text + "\n", encoding="utf-8")
    print(text)


def photos_of(given: dict[str, Any]) -> float:
    return given["profiles"] * given["photos_per_profile"]


def flops_a_photo(given: dict[str, Any]) -> float:
    """Of Qwen3-VL-2B, by the formula that the extraction benchmark uses."""
    from extraction_flops import model_flops

    full = runpy.run_path(str(EXPERIMENTS / "full_size" / "check.py"))
    text = SimpleNamespace(**full["FULL_TEXT"])
    fixed = {"in_channels": 3, "temporal_patch_size": 2, "patch_size": 16, "spatial_merge_size": 2}
    vision = SimpleNamespace(**full["FULL_VISION"], **fixed, out_hidden_size=text.hidden_size)
    patches = (given["photo"]["side_px"] // 16) ** 2
    return model_flops(
        SimpleNamespace(vision_config=vision, text_config=text), patches, patches // 4 + given["photo"]["text_tokens"]
    )


def rates(given: dict[str, Any]) -> dict[str, float]:
    """Photos a second of one GPU."""
    flops = flops_a_photo(given)
    return {name: gpu["peak_tflops"] * 1e12 * gpu["utilisation"] / flops for name, gpu in given["gpus"].items()}


def compute(given: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    photos, daily = photos_of(given), photos_of(given) * given["daily_share"]
    least, most = (ms / 1e3 for ms in given["decode_ms"])
    lines = [
        f"{given['profiles']:,} profiles with {given['photos_per_profile']} photos each, {photos:,.0f} photos, of which "
        f"{100 * given['daily_share']:g} % are new every day.",
        "",
        "## Embedding",
        "",
        f"{flops_a_photo(given) / 1e12:.2f} TFLOP a photo: Qwen3-VL-2B, {given['photo']['side_px']} px square, "
        f"{given['photo']['text_tokens']} tokens of text, no vocabulary logits (`extraction_flops.py`; torch counts the same).",
        "",
        "| GPU | of its peak, assumed | photos/s | cores that decode for it | hours for all | cost once, $ | hours a day | $ a month |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rate in rates(given).items():
        gpu = given["gpus"][name]
        hours, each_day = photos / rate / 3600, daily / rate / 3600
        lines.append(
            f"| {name} | {100 * gpu['utilisation']:.0f} % of {gpu['peak_tflops']} TFLOP/s | {rate:,.0f} "
            f"| {math.ceil(rate * least)} to {math.ceil(rate * most)} | {hours:,.0f} | {hours * gpu['usd_per_hour']:,.0f} "
            f"| {each_day:.1f} | {DAYS * each_day * gpu['usd_per_hour']:,.0f} |"
        )
    ratio = largest(measured["extraction"], "forward")
    lines += [
        "",
        f"On two cores `embed` takes {ratio:.2f} times the bare forward. A GPU waits for nothing only as long as enough "
        "cores decode: an H100 needs more of them than its eighth of such a machine has, so it reads photos resized to "
        "1,024 px beforehand, or several machines share the work: `style_match.embed share=1/8` and so on, each "
        "one's share its own, a lost machine's share run again.",
        "",
    ]
    return lines


def largest(part: dict[str, Any], against: str) -> float:
    """The median ratio of the last comparison against something."""
    return next(row["ratio"]["median"] for row in reversed(part["comparisons"]) if against in row["against"])


def fact(part: dict[str, Any], what: str) -> float:
    """A fact of the largest size that was measured."""
    return next(row["value"] for row in reversed(part["facts"]) if what in row["what"])


def stores(given: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    photos, qdrant, price = photos_of(given), given["qdrant"], given["storage_usd_per_gb_month"]
    row_bytes = 4 * given["feature_dim"] * given["poolings"] + 32 + 32 + 8 * given["poolings"]
    features_gb = photos * row_bytes / 1e9
    vectors_gb = given["profiles"] * given["embedding_dim"] * 4 / 1e9
    memory_gb = vectors_gb * qdrant["overhead"]
    node_gb = qdrant["node_memory_gb"] * qdrant["usable_share"]
    shards = math.ceil(memory_gb / node_gb)
    nodes = max(shards * qdrant["replicas"], qdrant["replicas"] + 1)
    photo_gb = photos * given["photo_mb"] / 1e3
    rows = index_rows()
    graph_bytes = (rows["disk_gb", 1_000_000] * 1e9 / 1_000_000) - 4 * 256
    a10g = given["gpus"]["A10G"]["usd_per_hour"] * photos * given["daily_share"] / rates(given)["A10G"] / 3600 * DAYS
    monthly = {
        f"photos in object storage, {photo_gb:,.0f} GB": photo_gb * price["object"],
        f"features on a shared disk, {features_gb:,.0f} GB": features_gb * price["shared_ssd"],
        f"Qdrant, {nodes} nodes": nodes * qdrant["usd_per_node_hour"] * given["hours_per_month"],
        "new photos on an A10G": a10g,
    }
    return [
        "## Store and index",
        "",
        f"- **Feature store**: {row_bytes:,} bytes a photo (four poolings of {given['feature_dim']} in float32, address, "
        f"owner, checksums), {features_gb:,.0f} GB. It is read when a head is trained or a matcher exported, not when a "
        "profile is served. Keeping one pooling takes a quarter.",
        f"- **Embeddings**: {given['embedding_dim']} wide, {vectors_gb:.1f} GB in float32.",
        f"- **FAISS on one machine**: the graph adds {graph_bytes:.0f} bytes a vector (measured at 1,000,000), so "
        f"{(vectors_gb + given['profiles'] * graph_bytes / 1e9):.0f} GB; built in {rows['build_cpu_s', 1_000_000] * 10 / 3600:.1f} "
        "core hours if a vector costs what it did at 1,000,000 x 256, and twice that for twice the width.",
        f"- **Qdrant**: {memory_gb:.0f} GB of memory ({qdrant['overhead']} times the vectors), {shards} shard"
        f"{'s' if shards > 1 else ''} of at most {node_gb:.0f} GB, {qdrant['replicas']} replicas, {nodes} nodes of "
        f"{qdrant['node_memory_gb']} GB. Scalar quantisation to int8 would take a quarter.",
        "",
        "## Cost a month",
        "",
        "| what | $ |",
        "| --- | ---: |",
        *(f"| {what} | {usd:,.0f} |" for what, usd in monthly.items()),
        f"| **together** | **{sum(monthly.values()):,.0f}** |",
        "",
    ]


def index_rows() -> dict[tuple[str, int], float]:
    """(measure, size) -> median, of the graph index."""
    with open(EXPERIMENTS / "index" / "results.csv", newline="", encoding="utf-8") as file:
        return {
            (row["measure"], int(row["size"])): float(row["median"])
            for row in csv.DictReader(file)
            if row["index"] == "faiss hnsw, ef_search 64"
        }


def breaks(given: dict[str, Any], measured: dict[str, Any]) -> list[str]:
    photos = photos_of(given)
    store, evaluation = measured["store"], measured["evaluation"]
    opened_s, memory_mb, imports_mb = (
        fact(store, what) for what in ("store opened", "memory of its process at the highest", "imports (torch)")
    )
    scale = photos / 1_000_000
    with open(HERE / "folder.csv", newline="", encoding="utf-8") as file:
        folder = [row for row in csv.DictReader(file) if row["state"] == "every photo known"]
    last = folder[-1]
    num = int(last["profiles"])
    read_s = sum(float(last[part]) for part in ("tables_s", "photos_s", "split_s")) / num
    memory = (float(last["peak_mb"]) - float(folder[0]["peak_mb"])) / (num - int(folder[0]["profiles"]))
    ranks = next(row for row in evaluation["growth"] if row["what"].startswith("exact ranks"))
    ranked_s = ranks["seconds"][-1] * (given["profiles"] / 2 / ranks["sizes"][-1]) ** 2
    return [
        "## What breaks first",
        "",
        "In this order, each from what was measured on two cores and carried on in proportion:",
        "",
        f"1. **Reading the dataset folder.** Tables, photos and split are Python objects: {1e3 * read_s:.2f} ms and "
        f"{1e3 * memory:.1f} KB a profile ({num:,} profiles, every photo known). {photos:,.0f} photos would take "
        f"{photos * read_s / 3600:.1f} hours and {photos * memory / 1e3:.0f} GB before every command. Up to about a million "
        "profiles a folder is fine; beyond, embed in folders of a million, one a share, into one feature store, and "
        "train on a sample: 495 couples train the head of the paper, a million train it in minutes.",
        f"2. **Opening the feature store.** {opened_s:.1f} s and {memory_mb - imports_mb:.0f} MB above the imports at 1,000,000 "
        f"rows, so {opened_s * scale:.0f} s and {(memory_mb - imports_mb) * scale / 1e3:.1f} GB; "
        f"{photos / 256:,.0f} files of 256 rows in one folder. `features.shard_rows=16384` for the bulk makes "
        f"{photos / 16384:,.0f} of them, for which a killed run loses up to 16,384 photos.",
        f"3. **Exact ranks.** They grow with the square: {ranks['seconds'][-1]:.0f} s at "
        f"{ranks['sizes'][-1]:,} queries against as many, {ranked_s / 3600 / 24:,.0f} days at half of all profiles against "
        "the other half. Test on a sample of queries, or on a test split of up to 100,000.",
        "4. **`recommend query=all` in mutual mode** holds all pairs (`max_pairs` refuses it); at this size ask the index "
        "for each profile's first hundred and intersect.",
        "5. **The exact index** in one process: embeddings fit (20 GB), an answer does not come in time (0.9 ms a "
        "million alone would be optimistic; measured 87 ms at 1,000,000 x 256). Qdrant, or the graph, takes over.",
        "6. **The graph's recall** with filters and near-uniform embeddings falls before its speed does "
        "([experiments/index](../index)): measure it on the embeddings that are served.",
    ]


if __name__ == "__main__":
    main()
