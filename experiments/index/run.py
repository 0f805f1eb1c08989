"""Times, memory and recall of the indexes by size.

    python experiments/index/run.py --scratch FOLDER

Each index lives in a separate process, so that its memory can be measured. They are searched in turn, one measurement
each, round after round, so that a busy machine slows all of them down.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd  # imported in functions, because the memory of the processes of the indexes is measured

HERE = Path(__file__).parent
ROOT = HERE.parents[1].resolve()
DIM = 256
SEED = 0
NUM_CENTRES = 2000
SPREAD = 1.0  # length of the noise that is added to a centre of length 1: two of a cluster have a cosine of about 0.5
K = 10
NUM_ALONE, NUM_BATCHED = 20, 200
NUM_GROUPS = 10  # the filter keeps one of them
HNSW = "faiss hnsw, ef_search 64"
INDEXES = {  # name -> words of conf/index, largest size, queries of a batch
    "exact": ("exact", 1_000_000, NUM_BATCHED),
    "faiss flat": ("faiss", 1_000_000, NUM_BATCHED),
    HNSW: ("faiss kind=hnsw", 1_000_000, NUM_BATCHED),
    "faiss hnsw, ef_search 256": ("ef_search=256", 1_000_000, NUM_BATCHED),  # the graph of the row above
    "qdrant embedded": ("qdrant", 100_000, NUM_ALONE),  # answers a batch one by one
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
KEY = ["data", "size", "index", "measure"]


def drawn(kind: str, num: int, seed: int) -> np.ndarray:
    """Return (num, DIM) float32 unit rows: `uniform` on the sphere, or `clustered` around uniform centres."""
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
    """Build one index, then answer the parent's (measure, options) until it sends None."""
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from style_match.serving.where import parse

    name, *others = words.split()
    config = OmegaConf.load(ROOT / "conf" / "index" / f"{name}.yaml")
    index = instantiate(OmegaConf.merge(config, OmegaConf.from_dotlist(others)))
    groups = np.random.default_rng(SEED).integers(0, NUM_GROUPS, num).tolist()
    cells = [{"group": str(group)} for group in range(NUM_GROUPS)]
    where = parse("group == 3")
    queries, vectors = drawn(kind, NUM_BATCHED, SEED + 2), drawn(kind, num, SEED + 1)
    ids = [f"{i:07}" for i in range(num)]
    folder.mkdir(parents=True)
    began, began_cpu = time.perf_counter(), time.process_time()
    index.build(ids, vectors, [cells[group] for group in groups], "none", folder=folder if index.is_stored else None)
    built = {"build_s": time.perf_counter() - began, "build_cpu_s": time.process_time() - began_cpu}
    del vectors
    gc.collect()
    index.search(queries[:1], K, where=where)  # loads lazy parts
    pipe.send(built)
    while request := pipe.recv():
        what, options = request
        if "ef_search" in options:
            index.ef_search = options["ef_search"]
        if what == "memory":
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            found = {"resident_gb": pages * resource.getpagesize() / 1e9}
            found["peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
            found["disk_gb"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9
            pipe.send(found)
            continue
        chosen = where if what == "filtered_ms" else None
        began = time.perf_counter()
        if what == "batched_ms":
            answers = index.search(queries[:num_batched], K, where=chosen)
        else:
            answers = [index.search(queries[i : i + 1], K, where=chosen)[0] for i in range(NUM_ALONE)]
        pipe.send(((time.perf_counter() - began) / len(answers) * 1e3, answers))
    index.close()


def measure(kind: str, num: int, rounds: int, scratch: Path, only: list[str]) -> pd.DataFrame:
    """Return a row for each index and measure: median, smallest and largest value of the rounds."""
    import pandas as pd

    pipes: dict[str, Connection] = {}
    processes = []
    values: dict[tuple[str, str], list[float]] = {}
    answers: dict[tuple[str, str], Any] = {}

    def note(name: str, found: dict[str, float]) -> None:
        for what, value in found.items():
            values.setdefault((name, what), []).append(value)

    def request(name: str, what: str) -> Any:
        options = {"ef_search": int(name.split()[-1])} if "hnsw" in name else {}
        pipes[name].send((what, options))
        return pipes[name].recv()

    spawn = multiprocessing.get_context("spawn")
    try:
        for name, (words, largest, num_batched) in INDEXES.items():
            if num > largest or (only and not any(name.startswith(word) for word in only)):
                continue
            if words.startswith("ef_search"):
                pipes[name] = pipes[HNSW]
                continue
            pipes[name], there = spawn.Pipe()
            folder = scratch / name.replace(" ", "_").replace(",", "") / "index"
            process = spawn.Process(target=serve, args=(there, words, kind, num, num_batched, folder), daemon=True)
            process.start()
            there.close()
            processes.append((pipes[name], process))
            note(name, pipes[name].recv())  # one after the other: building takes all cores
            print(f"{kind}, {num}: {name} built", file=sys.stderr, flush=True)
        for _ in range(rounds):
            for what in ("alone_ms", "batched_ms", "filtered_ms"):
                for name in pipes:
                    took, answers[name, what] = request(name, what)
                    note(name, {what: took})
        for name in pipes:
            for what, compared in (("recall", "batched_ms"), ("filtered_recall", "filtered_ms")):
                found = answers[name, compared]
                true = answers["exact", compared][: len(found)]
                if name in ("faiss flat", "qdrant embedded") and found != true:
                    raise SystemExit(f"{name} gives other answers than exact")
                pairs = zip(found, true, strict=True)
                hits = [len({one for one, _ in some} & {one for one, _ in right}) / len(right) for some, right in pairs]
                note(name, {what: float(np.mean(hits))})
            note(name, request(name, "memory"))
    finally:
        for pipe, process in processes:
            if process.is_alive():
                pipe.send(None)
                process.join()
        shutil.rmtree(scratch)
    rows = [(kind, num, *key, len(each), float(np.median(each)), min(each), max(each)) for key, each in values.items()]
    return pd.DataFrame(rows, columns=[*KEY, "rounds", "median", "least", "most"])


def tables(rows: pd.DataFrame) -> str:
    """Return a Markdown table for each data and size."""
    lines = []
    for (num, kind), some in rows.groupby(["size", "data"]):
        cells = some.assign(cell=some.apply(shown, axis=1)).pivot(index="index", columns="measure", values="cell")
        lines += ["", f"**{num:,} x {DIM}, {kind}**", "", "| | " + " | ".join(SHOWN.values()) + " |"]
        lines += ["| --- |" + " ---: |" * len(SHOWN)]
        for name in [name for name in INDEXES if name in cells.index]:
            lines.append(f"| {name} | " + " | ".join(cells.reindex(columns=list(SHOWN)).fillna("").loc[name]) + " |")
    return "\n".join(lines[1:])


def shown(row: pd.Series) -> str:
    """Return the median and, if there were several rounds, the range."""
    median, least, most = (f"{v:.3g}" if v < 1000 else f"{v:.0f}" for v in (row["median"], row["least"], row["most"]))
    return median + (f" ({least}-{most})" if row["rounds"] > 1 else "")


def write(out: Path, about: str, rows: pd.DataFrame) -> None:
    """Write results.csv and the part of README.md between its two marks."""
    rows.to_csv(out / "results.csv", index=False)
    readme = out / "README.md"
    if readme.exists():
        head, begin, rest = readme.read_text(encoding="utf-8").partition("<!-- results -->\n")
        end = rest.partition("<!-- end -->")[2]
        readme.write_text(f"{head}{begin}```\n{about}\n```\n\n{tables(rows)}\n<!-- end -->{end}", encoding="utf-8")


def machine() -> str:
    model = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line), "")
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout
    names = ("numpy", "torch", "faiss-cpu", "qdrant-client")
    return "\n".join(
        [
            f"machine   {model.partition(':')[2].strip()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            f"versions  {', '.join(f'{name} {version(name)}' for name in names)}",
            f"commit    {commit.strip()}",
            f"load      {', '.join(f'{load:.1f}' for load in os.getloadavg())} (1, 5, 15 minutes, at the start)",
        ]
    )


def main() -> None:
    import pandas as pd

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, required=True, help="folder with 5 GB of free space")
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results.csv")
    parser.add_argument("--cells", default="clustered:20000,clustered:100000,uniform:100000,clustered:1000000")
    parser.add_argument("--only", default="", help="beginnings of names; exact is required, to compare with")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    about, results = machine(), given.out / "results.csv"
    given.out.mkdir(parents=True, exist_ok=True)
    rows = pd.read_csv(results) if given.only and results.exists() else pd.DataFrame(columns=KEY)
    for cell in given.cells.split(","):
        kind, _, num = cell.partition(":")
        scratch = given.scratch / f"index-{os.getpid()}"
        scratch.mkdir(parents=True)
        new = measure(kind, int(num), given.rounds, scratch, [word for word in given.only.split(",") if word])
        rows = new if rows.empty else pd.concat([rows, new]).drop_duplicates(KEY, keep="last")
        write(given.out, about, rows)
        print(tables(new), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
