"""Start-up: `--help`, a mistake, and a run of one epoch on stored features, against Python importing the libraries."""

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import measure

HYDRA = "import hydra, omegaconf"
TORCH = "import torch, lightning"
LIBRARIES = "import torch, lightning, hydra, pytorch_metric_learning, sklearn, matplotlib, pyarrow"
# name -> words, exit code, a part of the answer
ANSWERS = {
    "--help": (["--help"], 0, "Groups (* in use)"),
    "a mistyped option": (["head.dmi=512"], 2, "head.dim"),
    "a value out of range": (["loss.temperature=-1"], 2, "loss.temperature"),
}


def measured(results: measure.Results, options: dict[str, Any]) -> None:
    repetitions = options["repetitions"]
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for way, (words, code, expected) in ANSWERS.items():
            missing = expected not in train(place, *words, code=code)()
            results.check(f"{way}: the answer has {expected!r} (0: it has)", float(missing), 0)
        ways = {way: train(place, *words, code=code) for way, (words, code, _) in ANSWERS.items()}
        times = measure.alternate(ways | {HYDRA: python(place, HYDRA)}, repetitions=repetitions, what="answers")
        for way in ANSWERS:
            results.compare(f"train, {way}", f"python -c '{HYDRA}'", times[way], times[HYDRA], size="")
            results.fact(f"train, {way}", statistics.median(times[way]), "s")
        medians, what = [], "train, one epoch on stored features"
        for couples in options["couples"]:
            run = train(place, f"data.num_couples={couples}", "trainer.max_epochs=1", "sampler.batch_size=8")
            run()  # draws and embeds
            ways = {what: run} | {code: python(place, code) for code in (TORCH, LIBRARIES)}
            size = f"{couples} couples"
            times = measure.alternate(ways, repetitions=repetitions, what=size, warm_up=False)
            for code in (TORCH, LIBRARIES):
                results.compare(what, f"python -c '{code}'", times[what], times[code], size=size)
            medians.append(statistics.median(times[what]))
        results.grow(what, "couples", options["couples"], medians)


def train(place: Path, *words: str, code: int = 0) -> Callable[[], str]:
    """Return a function that runs `python -m style_match.train` and returns its output; it checks the exit code."""
    return lambda: run_python(place, code, "-m", "style_match.train", *words)


def python(place: Path, code: str) -> Callable[[], str]:
    return lambda: run_python(place, 0, "-c", code)


def run_python(place: Path, code: int, *words: str) -> str:
    environment = {**os.environ, "STYLE_MATCH_CACHE": str(place / "cache")}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment, cwd=place)
    if done.returncode != code:
        raise RuntimeError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


if __name__ == "__main__":
    measure.main("startup", __doc__.splitlines()[0], measured)
