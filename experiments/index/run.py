"""How long the indexes take, what they hold, and what they miss, by size.

    python experiments/index/run.py --scratch FOLDER --out experiments/index

Each index lives in a process of its own, so that its memory is its own. They are asked by turns, one measurement each,
round after round, so that a machine that is busy for a while is busy for all.
"""

import argparse
import csv
import gc
import multiprocessing
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DIM = 256
SEED = 0
NUM_CENTRES = 2000
SPREAD = 1.0  # length of what is added to a centre of length 1: two of a cluster have a cosine of about a half
K = 10
NUM_ALONE, NUM_BATCHED = 20, 200
NUM_GROUPS = 10  # the filter keeps one of them
INDEXES = {  # name -> words of conf/index, largest size, queries of a batch
    "exact": ("exact", 1_000_000, NUM_BATCHED),
    "faiss flat": ("faiss", 1_000_000, NUM_BATCHED),
    "faiss hnsw, ef_search 64": ("faiss kind=hnsw", 1_000_000, NUM_BATCHED),
    "faiss hnsw, ef_search 256": ("ef_search=256", 1_000_000, NUM_BATCHED),  # the graph of the row above
    "qdrant embedded": ("qdrant", 100_000, NUM_ALONE),  # it answers a batch one by one
}
SHOWN = {
    "build_s": "build, s",
    "build_cpu_s": "of the CPU",
    "alone_ms": "alone, ms",
    "batched_ms": "in a batch, ms",
    "filtered_ms": "alone, filter of 10 %, ms",
    "recall": "recall@10",
    "filtered_recall": "with the filter",
    "resident_gb": "memory, GB",
    "peak_gb": "peak, GB",
    "disk_gb": "disk, GB",
}


def drawn(kind: str, num: int, seed: int) -> np.ndarray:
    """(num, DIM) float32 unit rows: `uniform` on the sphere, or `clustered` around centres that are."""
    made = np.random.default_rng(seed)
    centres = unit(np.random.default_rng(SEED).standard_normal((NUM_CENTRES, DIM), dtype=np.float32))
    rows = np.empty((num, DIM), np.float32)
    for start in range(0, num, 100_000):
        noise = unit(made.standard_normal((min(100_000, num - start), DIM), dtype=np.float32))
        if kind == "clustered":
            noise = unit(centres[made.integers(0, NUM_CENTRES, len(noise))] + SPREAD * noise)
        rows[start : start + len(noise)] = noise
    return rows


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def serve(pipe: Connection, words: str, kind: str, num: int, num_batched: int, folder: Path) -> None:
    """Build one index and answer what the parent asks: (what, options) -> a number, or answers."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from style_match.serving.where import parse

    name, *others = words.split()
    config = OmegaConf.load(ROOT / "conf" / "index" / f"{name}.yaml")
    index = instantiate(OmegaConf.merge(config, OmegaConf.from_dotlist(others)))
    groups = np.random.default_rng(SEED).integers(0, NUM_GROUPS, num).tolist()
    cells = [{"group": str(group)} for group in range(NUM_GROUPS)]
    queries = drawn(kind, NUM_BATCHED, SEED + 2)
    where = parse("group == 3")
    vectors = drawn(kind, num, SEED + 1)
    folder.mkdir(parents=True)
    ids = [f"{i:07}" for i in range(num)]
    began, began_cpu = time.perf_counter(), time.process_time()
    index.build(ids, vectors, [cells[group] for group in groups], "none", folder=folder if index.is_stored else None)
    built, built_cpu = time.perf_counter() - began, time.process_time() - began_cpu
    del vectors
    gc.collect()
    index.search(queries[:1], K, where=where)  # loads what is loaded late
    pipe.send({"build_s": built, "build_cpu_s": built_cpu, "recall_at_build": index.recall})
    while True:
        what, options = pipe.recv()
        if what == "stop":
            index.close()
            return
        if what == "memory":
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            pipe.send(
                {"resident_gb": pages * resource.getpagesize() / 1e9, "peak_gb": peak / 1e9, "disk_gb": size / 1e9}
            )
            continue
        if "ef_search" in options:
            index.ef_search = options["ef_search"]
        chosen = where if what.startswith("filtered") else None
        began = time.perf_counter()
        if what in ("alone_ms", "filtered_ms"):
            answers = [index.search(queries[i : i + 1], K, where=chosen)[0] for i in range(NUM_ALONE)]
        else:
            answers = index.search(queries[:num_batched], K, where=chosen)
        pipe.send(((time.perf_counter() - began) / len(answers) * 1e3, answers))


def measure(kind: str, num: int, rounds: int, scratch: Path, only: list[str]) -> list[dict[str, Any]]:
    """A row for each index and measure: median, least and most over the rounds."""
    workers: dict[str, tuple[Connection, Any]] = {}
    rows: list[dict[str, Any]] = []
    asked: dict[str, tuple[Connection, dict[str, Any], int]] = {}

    def noted(name: str, measure: str, values: list[float]) -> None:
        told = {"data": kind, "size": num, "index": name, "measure": measure, "rounds": len(values)}
        rows.append(told | {"median": statistics.median(values), "least": min(values), "most": max(values)})

    spawn = multiprocessing.get_context("spawn")
    try:
        for name, (words, largest, num_batched) in INDEXES.items():
            if num > largest or (only and not any(name.startswith(word) for word in only)):
                continue
            if words.startswith("ef_search"):
                if "faiss hnsw, ef_search 64" in workers:
                    pipe = workers["faiss hnsw, ef_search 64"][0]
                    asked[name] = pipe, {"ef_search": int(words.partition("=")[2])}, num_batched
                continue
            here, there = spawn.Pipe()
            folder = scratch / name.replace(" ", "_").replace(",", "") / "index"
            process = spawn.Process(target=serve, args=(there, words, kind, num, num_batched, folder), daemon=True)
            process.start()
            there.close()
            workers[name] = here, process
            told = here.recv()  # one after the other: building takes all cores
            say(f"{kind}, {num}: {name}: {told}")
            for what in ("build_s", "build_cpu_s"):
                noted(name, what, [told[what]])
            asked[name] = here, {"ef_search": 64} if "hnsw" in name else {}, num_batched
        times: dict[tuple[str, str], list[float]] = {}
        answers: dict[tuple[str, str], Any] = {}
        for _ in range(rounds):
            for what in ("alone_ms", "batched_ms", "filtered_ms"):
                for name, (pipe, options, _num) in asked.items():
                    pipe.send((what, options))
                    took, answers[name, what] = pipe.recv()
                    times.setdefault((name, what), []).append(took)
        for (name, what), values in times.items():
            noted(name, what, values)
        for name, (pipe, options, num_batched) in asked.items():
            for what, compared in (("recall", "batched_ms"), ("filtered_recall", "filtered_ms")):
                found, true = answers[name, compared], answers["exact", compared][:num_batched]
                if name in ("faiss flat", "qdrant embedded") and found != true[: len(found)]:
                    raise SystemExit(f"{name} does not answer as exact does")
                pairs = zip(found, true, strict=True)
                hits = [len({one for one, _ in some} & {one for one, _ in right}) / len(right) for some, right in pairs]
                noted(name, what, [statistics.mean(hits)])
            pipe.send(("memory", options))
            for measure, value in pipe.recv().items():
                noted(name, measure, [value])
    finally:
        for pipe, process in workers.values():
            if process.is_alive():
                pipe.send(("stop", {}))
                process.join()
        shutil.rmtree(scratch)
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table for each data and size: median, and least to most where it was measured several times."""
    lines = []
    for kind, num in sorted({(row["data"], row["size"]) for row in rows}, key=lambda cell: (cell[1], cell[0])):
        some = {(row["index"], row["measure"]): row for row in rows if (row["data"], row["size"]) == (kind, num)}
        lines += ["", f"**{num:,} x {DIM}, {kind}**", "", "| | " + " | ".join(SHOWN.values()) + " |"]
        lines += ["| --- |" + " ---: |" * len(SHOWN)]
        for name in sorted({index for index, _ in some}, key=list(INDEXES).index):
            cells = [shown(some.get((name, measure))) for measure in SHOWN]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines[1:])


def shown(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    short = lambda value: f"{value:.3g}" if value < 1000 else f"{value:.0f}"  # noqa: E731
    spread = f" ({short(row['least'])}-{short(row['most'])})" if row["rounds"] > 1 else ""
    return short(row["median"]) + spread


def write(out: Path, told: str, rows: list[dict[str, Any]]) -> None:
    """results.csv, result.txt, and the part of a README.md between two marks."""
    with open(out / "results.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (out / "result.txt").write_text(f"{told}\n\n{table(rows)}\n", encoding="utf-8")
    readme = out / "README.md"
    if readme.exists():
        head, begin, rest = readme.read_text(encoding="utf-8").partition("<!-- results -->\n")
        text = f"{head}{begin}```\n{told}\n```\n\n{table(rows)}\n<!-- end -->{rest.partition('<!-- end -->')[2]}"
        readme.write_text(text if begin else head, encoding="utf-8")


def number(text: str) -> Any:
    """A cell of results.csv as what it was."""
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text


def machine() -> str:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()  # noqa: E731
    changed = " and uncommitted changes" if git("status", "--porcelain", "style_match/serving", "conf/index") else ""
    names = ("numpy", "torch", "faiss-cpu", "qdrant-client")
    return "\n".join(
        [
            f"machine   {model.partition(':')[2].strip()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            f"versions  {', '.join(f'{name} {version(name)}' for name in names)}",
            f"commit    {git('rev-parse', '--short', 'HEAD')}{changed}",
            f"load      {', '.join(f'{load:.1f}' for load in os.getloadavg())} (1, 5, 15 minutes, at the start)",
        ]
    )


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder with 5 GB to spare")
    parser.add_argument("--out", type=Path, required=True, help="where result.txt and results.csv are written")
    parser.add_argument("--cells", default="clustered:20000,clustered:100000,uniform:100000,clustered:1000000")
    parser.add_argument("--only", default="", help="beginnings of names; exact is needed to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    told, rows = machine(), []
    arguments.out.mkdir(parents=True, exist_ok=True)
    if (arguments.out / "results.csv").exists() and arguments.only:  # those that are left out stay as they were
        with open(arguments.out / "results.csv", newline="", encoding="utf-8") as file:
            rows = [{name: number(value) for name, value in row.items()} for row in csv.DictReader(file)]
    for cell in arguments.cells.split(","):
        kind, _, num = cell.partition(":")
        scratch = arguments.scratch / f"index-{os.getpid()}"
        scratch.mkdir(parents=True)
        new = measure(kind, int(num), arguments.rounds, scratch, [word for word in arguments.only.split(",") if word])
        measured = {(row["data"], row["size"], row["index"]) for row in new}
        rows = [row for row in rows if (row["data"], row["size"], row["index"]) not in measured] + new
        write(arguments.out, told, rows)
        say(table(new))


if __name__ == "__main__":
    main()
