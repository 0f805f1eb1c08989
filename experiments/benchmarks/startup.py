"""Start-up: `--help`, a mistake, and a run of one epoch on stored features, against Python importing the libraries."""

import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import measure

HYDRA = "import hydra, omegaconf"
LIBRARIES = "import torch, lightning, hydra, pytorch_metric_learning, sklearn, matplotlib, pyarrow"
IMPORTED = re.compile(r"import time:\s+(\d+) \|\s+(\d+) \| (\s*)(\S+)")


def measured(results: measure.Results, options: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        ways = {
            "--help": partial(command, place, "--help"),
            "a mistyped option": partial(command, place, "head.dmi=512", code=2),
            "a value out of range": partial(command, place, "loss.temperature=-1", code=2),
            HYDRA: partial(python, place, HYDRA),
        }
        said = {word: command(place, *words, code=code) for word, words, code in SAID}
        for word, expected in EXPECTED.items():
            results.check(f"{word}: what is said holds {expected!r} (0: it does)", float(expected not in said[word]), 0)
        times = measure.alternate(ways, repetitions=options["repetitions"], what="answers")
        for way, seconds in times.items():
            if way != HYDRA:
                results.compare(f"train, {way}", f"python -c '{HYDRA}'", seconds, times[HYDRA], size="")
                results.fact(f"train, {way}", statistics.median(seconds), "s")
        medians = []
        for couples in options["couples"]:
            words = (f"data.num_couples={couples}", "trainer.max_epochs=1", "sampler.batch_size=8")
            command(place, *words)  # draws and embeds
            ways = {"run": partial(command, place, *words), LIBRARIES: partial(python, place, LIBRARIES)}
            times = measure.alternate(
                ways, repetitions=options["repetitions"], what=f"{couples} couples", warm_up=False
            )
            size = f"{couples} couples"
            results.compare(
                "train, one epoch on stored features",
                f"python -c '{LIBRARIES}'",
                times["run"],
                times[LIBRARIES],
                size=size,
            )
            medians.append(statistics.median(times["run"]))
        results.grow("train, one epoch on stored features", "couples", options["couples"], medians)
        for package, seconds in imports(place, *words).items():
            results.fact(f"imports of a run: {package}", seconds, "s")


SAID = (("--help", ("--help",), 0), ("a mistyped option", ("head.dmi=512",), 2))
EXPECTED = {"--help": "Groups (* in use)", "a mistyped option": "head.dim"}


def command(place: Path, *words: str, code: int = 0) -> str:
    """Run `python -m style_match.train` and say what it printed.

    Raises:
        RuntimeError: it did not end with this code.
    """
    done = python_words(place, "-m", "style_match.train", *words)
    if done.returncode != code:
        raise RuntimeError(f"train {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def python(place: Path, code: str) -> None:
    python_words(place, "-c", code).check_returncode()


def python_words(place: Path, *words: str) -> subprocess.CompletedProcess:
    env = {**os.environ, "STYLE_MATCH_CACHE": str(place / "cache")}
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env, cwd=place)


def imports(place: Path, *words: str) -> dict[str, float]:
    """Seconds that importing takes a run, those of each package's own modules; all and the eight largest."""
    done = python_words(place, "-X", "importtime", "-m", "style_match.train", *words)
    spent: dict[str, float] = defaultdict(float)
    for own, _, _, name in IMPORTED.findall(done.stderr):
        spent[name.partition(".")[0]] += int(own) / 1e6
    largest = sorted(spent.items(), key=lambda item: -item[1])
    return {"all packages": sum(spent.values())} | dict(largest[:8])


if __name__ == "__main__":
    measure.main("startup", __doc__.splitlines()[0], measured)
