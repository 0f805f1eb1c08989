"""The harness of the benchmarks: several ways to do one thing, timed in turn, and checked to give the same result.

Results are ratios: the times of two ways in one repetition, their median and range over all repetitions.
"""

import ctypes
import json
import math
import os
import runpy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from style_match.cli.targets import conf_dir
from style_match.training.run_folder import environment, versions
from style_match.utils import progress
from style_match.utils.files import write_whole

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WRITTEN = tuple(f"experiments/benchmarks/{name}" for name in ("results", "table.md", "comparisons.md"))  # by the parts
RIVALS = ("sentence-transformers", "open-metric-learning", "faiss-cpu", "torchvision")


class Unequal(Exception):
    """Two ways to do one thing gave different results."""


def parts() -> dict[str, Any]:
    """Return the options of every part by its name."""
    return yaml.safe_load((HERE / "options.yaml").read_text(encoding="utf-8"))


def train_config(*overrides: str) -> DictConfig:
    """Return the config of style_match.train."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("train", overrides=list(overrides))


def write_checkpoint(folder: Path, **sizes: Any) -> None:
    """Write a Qwen3-VL with random weights in the hub's format; the same weights every time."""
    runpy.run_path(str(ROOT / "tests" / "backbone" / "random_checkpoint.py"))["make"](folder, **sizes)


def alternate(
    ways: Mapping[str, Callable[[], object]],
    *,
    repetitions: int,
    what: str,
    before: Callable[[], object] = lambda: None,
    warm_up: bool = True,
) -> dict[str, list[float]]:
    """Return the wall times in seconds of each way; every repetition runs each way once.

    The order is reversed in every second repetition, so that a slower machine slows all ways down alike. A way that
    returns a float is timed by that number instead.

    Args:
        ways: Name -> function.
        repetitions: Number of times a way.
        what: Name for the progress lines.
        before: Called before every way, outside its time.
        warm_up: Run each way once more at first, without counting it.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    began, total = time.monotonic(), repetitions + warm_up
    for number in range(total):
        for name in sorted(ways, reverse=number % 2 == 1):
            before()
            start = time.perf_counter()
            own = ways[name]()
            spent = own if isinstance(own, float) else time.perf_counter() - start
            if number or not warm_up:
                seconds[name].append(spent)
        progress.say(f"  {what}: {number + 1} of {total}, {time.monotonic() - began:.0f} s")
    return seconds


def ratio(of: Sequence[float], to: Sequence[float]) -> dict[str, float]:
    """Return median and range of the ratios of two ways' times, repetition by repetition."""
    ratios = [own / other for own, other in zip(of, to, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """Return b of seconds = a * size ** b, by least squares over the logarithms."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(s) for s in seconds]).slope


def peak_memory(run: Callable[[], object], device: torch.device) -> float:
    """Return the bytes that a run takes at most, above the memory of the process (or the GPU) before. Linux only."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL(None).malloc_trim(0)  # give back what earlier runs have freed
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts from here
    before = memory_of_process("VmRSS")
    run()
    return memory_of_process("VmHWM") - before


def memory_of_process(name: str) -> int:
    """Return a line of /proc/self/status in bytes: VmRSS, resident now, or VmHWM, the peak."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


class Results:
    """The results of a part, for `results/PART.json`.

    Args:
        part: Name of the part.
        title: One line that says what the part measures.
    """

    def __init__(self, part: str, title: str):
        self.part = part
        self.began = time.monotonic()
        self.load_before = os.getloadavg()[0]
        lists: dict[str, Any] = {name: [] for name in ("comparisons", "growth", "facts", "checks")}
        self.content = {"part": part, "title": title} | lists

    def check(self, what: str, difference: float, at_most: float) -> None:
        """Note that two results are equal within a bound.

        Raises:
            Unequal: They are not.
        """
        if not difference <= at_most:
            raise Unequal(f"{what}: differ by {difference:.3g}, more than {at_most:.3g}")
        self.content["checks"].append({"what": what, "difference": float(difference), "at_most": float(at_most)})

    def compare(
        self,
        what: str,
        against: str,
        of: Sequence[float],
        to: Sequence[float],
        *,
        size: str,
        goal: float | None = None,
    ) -> None:
        """Note the ratio of the times of one way to those of another, in seconds.

        Args:
            what: The first way.
            against: The second way.
            of: Times of the first way.
            to: Times of the second way.
            size: Size of the data.
            goal: The largest median that is wanted, if there is one.
        """
        found = ratio(of, to)
        row = {"what": what, "against": against, "size": size, "ratio": found, "goal": goal, "repetitions": len(of)}
        self.content["comparisons"].append(row | {"seconds": {"of": list(of), "to": list(to)}})
        wanted = "" if goal is None else f", goal at most {goal:.2f}"
        spread = f"{found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"
        progress.say(f"  {what} / {against}, {size}: {spread}{wanted}")

    def grow(self, what: str, unit: str, sizes: Sequence[float], seconds: Sequence[float]) -> None:
        """Note how a cost grows: the exponent over at least three sizes, with the median seconds of each."""
        row = {"what": what, "unit": unit, "sizes": list(sizes), "seconds": list(seconds)}
        self.content["growth"].append(row | {"exponent": exponent(sizes, seconds)})

    def fact(
        self, what: str, value: float, unit: str, *, size: str = "", goal: str = "", met: bool | None = None
    ) -> None:
        """Note a number that is not a ratio of times, such as memory or tokens/s."""
        row = {"what": what, "value": float(value), "unit": unit, "size": size, "goal": goal, "met": met}
        self.content["facts"].append(row)
        progress.say(f"  {what}: {value:.4g} {unit} {size}")

    def write(self, folder: Path) -> Path:
        """Write `PART.json` with command, commit, versions and machine."""
        path = folder / f"{self.part}.json"
        about = environment()
        if about["git"]:
            words = ["git", "-C", str(ROOT), "status", "--porcelain", "--", ".", *(f":!{path}" for path in WRITTEN)]
            about["git"]["dirty"] = bool(subprocess.run(words, capture_output=True, check=True).stdout)
        about["machine"] |= machine()
        about["versions"] |= versions(RIVALS)
        about["command"] = f"python experiments/benchmarks/run.py {self.part}"
        about["load_before"] = round(self.load_before, 2)
        about["wall_time_s"] = round(time.monotonic() - self.began, 1)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(self.content | {"about": about}, indent=1) + "\n")
        return path


def machine() -> dict[str, Any]:
    """Return processor, memory and, if there is one, GPU."""
    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else "",
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def main(part: str, title: str, measure: Callable[[Results, dict[str, Any]], None]) -> None:
    """Run `python experiments/benchmarks/PART.py [--small] OUT`: measure, then write into the folder OUT."""
    given = parts()[part]
    options = given["full"] | (given["small"] if "--small" in sys.argv else {})
    results = Results(part, title)
    measure(results, options)
    print(results.write(Path(sys.argv[-1])))
