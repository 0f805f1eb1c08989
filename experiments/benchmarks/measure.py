"""Times of ways to do one thing, taken in turn in one run, and what is written of them.

Figures are ratios: of each repetition's two times, their median and range. What is compared is checked to be equal
first.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from style_match.training.run_folder import environment, versions
from style_match.utils import progress
from style_match.utils.files import write_whole

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RANDOM_CHECKPOINT = ROOT / "tests" / "backbone" / "random_checkpoint.py"
WRITTEN = ("experiments/benchmarks/results", "experiments/benchmarks/table.md", "README.md")  # by the parts themselves
# of the packages that something is measured against; those of style_match are noted with them
RIVALS = ("sentence-transformers", "open-metric-learning", "faiss-cpu", "torchvision")


class Unequal(Exception):
    """Two ways of doing one thing did not give the same."""


def parts() -> dict[str, Any]:
    """The options of every part, by its name."""
    return yaml.safe_load((HERE / "options.yaml").read_text(encoding="utf-8"))


def options(part: str, *, small: bool) -> dict[str, Any]:
    """The sizes and repetitions of a part; `small` ones only show that it runs."""
    given = parts()[part]
    return given["full"] | (given["small"] if small else {})


def alternate(
    ways: Mapping[str, Callable[[], object]],
    *,
    repetitions: int,
    what: str,
    before: Callable[[], object] = lambda: None,
    warm_up: bool = True,
) -> dict[str, list[float]]:
    """Wall times in seconds of each way, `repetitions` of them, all ways once before any comes again.

    The order turns round every time, so that whatever slows the machine down over a run falls on all alike.

    Args:
        before: called before every single one, outside of its time.
        warm_up: each once more at first, not counted.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    began = time.monotonic()
    total = repetitions + warm_up
    for number in range(total):
        for name in sorted(ways, reverse=number % 2 == 1):
            before()
            start = time.perf_counter()
            ways[name]()
            spent = time.perf_counter() - start
            if number or not warm_up:
                seconds[name].append(spent)
        passed = time.monotonic() - began
        left = passed / (number + 1) * (total - number - 1)
        progress.say(f"  {what}: {number + 1} of {total}, {passed:.0f} s passed, about {left:.0f} s left")
    return seconds


def ratio(of: Sequence[float], to: Sequence[float]) -> dict[str, float]:
    """Median and range of the ratios of two ways' times, repetition by repetition."""
    ratios = [own / other for own, other in zip(of, to, strict=True)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """b of seconds = a * size ** b, by least squares over the logarithms."""
    return statistics.linear_regression([math.log(size) for size in sizes], [math.log(s) for s in seconds]).slope


class Results:
    """What a part has measured, for `results/PART.json`.

    Args:
        part: its name.
        title: what it measures, in a line.
    """

    def __init__(self, part: str, title: str):
        self.part = part
        self.began = time.monotonic()
        self.load_before = os.getloadavg()[0]
        self.environment = environment()
        if git := self.environment["git"]:
            words = ["git", "-C", str(ROOT), "status", "--porcelain", "--", ".", *(f":!{path}" for path in WRITTEN)]
            git["dirty"] = bool(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        self.content: dict[str, Any] = {"part": part, "title": title, "comparisons": [], "growth": [], "facts": []}
        self.content["checks"] = []

    def check(self, what: str, difference: float, at_most: float) -> None:
        """Note that two results are equal within a bound.

        Raises:
            Unequal: they are not.
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
    ) -> dict[str, float]:
        """Note the ratio of two ways' times in seconds, the first one's to the second one's.

        Args:
            goal: the most that the median may be; None where there is none, as in what is for information.
        """
        found = ratio(of, to)
        self.content["comparisons"].append(
            {
                "what": what,
                "against": against,
                "size": size,
                "ratio": found,
                "goal": goal,
                "repetitions": len(of),
                "seconds": {"of": list(of), "to": list(to)},
            }
        )
        progress.say(
            f"  {what} / {against}, {size}: {found['median']:.2f} ({found['min']:.2f} to {found['max']:.2f})"
            + (f", goal at most {goal:.2f}" if goal is not None else "")
        )
        return found

    def grow(self, what: str, unit: str, sizes: Sequence[float], seconds: Sequence[float]) -> None:
        """Note how a cost grows: the exponent over at least three sizes, with the median seconds of each."""
        self.content["growth"].append(
            {
                "what": what,
                "unit": unit,
                "sizes": list(sizes),
                "seconds": list(seconds),
                "exponent": exponent(sizes, seconds),
            }
        )

    def fact(
        self, what: str, value: float, unit: str, *, size: str = "", goal: str = "", met: bool | None = None
    ) -> None:
        """Note a figure that is no ratio of times, such as memory, tokens/s or the share of time that was waited."""
        self.content["facts"].append(
            {"what": what, "value": float(value), "unit": unit, "size": size, "goal": goal, "met": met}
        )
        progress.say(f"  {what}: {value:.4g} {unit} {size}")

    def write(self, folder: Path) -> Path:
        """Write `PART.json` with command, commit, code, versions and machine."""
        path = folder / f"{self.part}.json"
        about = self.environment | {"machine": self.environment["machine"] | machine()}
        about["versions"] |= versions(RIVALS)
        about["command"] = f"python experiments/benchmarks/run.py {self.part}"
        about["load_before"] = round(self.load_before, 2)
        about["wall_time_s"] = round(time.monotonic() - self.began, 1)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps(self.content | {"about": about}, indent=1) + "\n")
        return path


def machine() -> dict[str, Any]:
    """Processor, memory and, where there is one, GPU."""
    import torch

    names = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "cpu": names[0].partition(":")[2].strip() if names else "",
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


def main(part: str, title: str, measure: Callable[[Results, dict[str, Any]], None]) -> None:
    """What `python experiments/benchmarks/PART.py [--small] OUT` does: `measure`, then write into the folder OUT."""
    small, folder = "--small" in sys.argv, Path(sys.argv[-1])
    results = Results(part, title)
    measure(results, options(part, small=small))
    print(results.write(folder))
