"""Make every mistake of `cases.py` on the command line: `python -m experiments.mistakes.run --scratch FOLDER`."""

import argparse
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

from experiments.mistakes import world
from experiments.mistakes.case import Case
from experiments.mistakes.cases import CASES, SMALL

TABLE = Path(__file__).with_name("table.md")
HEADER = "| case | mistake | command | answer | exit |"
PROGRESS = ("checking photos:", "embedding:", "features:", "training:")  # beginnings of lines that are no answer
TIMEOUT_S = 300


class Bench:
    """Builds the world of each case below `scratch` and types its command there."""

    def __init__(self, scratch: Path):
        self.scratch = scratch
        self.good = scratch / "good"
        world.draw_good(self.good / "data")

    @cached_property
    def trained(self) -> Path:
        """A run for the cases that need one."""
        done = self.type("train", SMALL.replace("FOLDER/new", "FOLDER/run"), self.good)
        assert done.returncode == 0, done.stderr
        return self.good / "run"

    def build(self, case: Case, name: str | None = None) -> Path:
        """The broken world of a case, in a new folder called as the case where no name is given."""
        folder = self.scratch / (name or case.name)
        shutil.copytree(self.good / "data", folder / "data")
        if case.has_run:
            shutil.copytree(self.trained, folder / "run")
            config = folder / "run" / "config.yaml"
            config.write_text(config.read_text().replace(str(self.good), str(folder)))
        case.breaks(folder)
        return folder

    def answer(self, case: Case, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
        with at_work(folder / case.busy) if case.busy else nullcontext():
            return self.type(case.step, case.words, folder, file_kb=case.file_kb, **case.environment, **environment)

    def type(
        self, step: str, words: str, folder: Path, *, file_kb: int | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", f"style_match.{step}", *shlex.split(words.replace("FOLDER", str(folder)))]
        if file_kb is not None:
            command = ["bash", "-c", f'ulimit -f {file_kb}; exec "$@"', "bash", *command]
        own = {name: value.replace("FOLDER", str(folder)) for name, value in environment.items()}
        if "PYTHONPATH" in own and "PYTHONPATH" in os.environ:
            own["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
        base = {"STYLE_MATCH_CACHE": str(self.scratch / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=folder, env={**os.environ, **base, **own}, capture_output=True, text=True, timeout=TIMEOUT_S
        )


@contextmanager
def at_work(run: Path) -> Iterator[None]:
    """As a process that is writing this run folder does, hold its lock."""
    with open(run / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def shown(text: str, folder: Path) -> str:
    """A text without the path of this machine's scratch folder, and without hashes, which differ between machines."""
    return re.sub(r"\b[0-9a-f]{12,}(-[0-9a-f]+)?", "HASH", text.replace(str(folder), "FOLDER")).strip()


def as_row(case: Case, answer: str, code: int) -> str:
    """A row of the table."""
    lines = [line.strip().replace("|", "\\|") for line in answer.splitlines() if not line.startswith(PROGRESS)]
    lines = [f"`` {line} ``" if "`" in line else f"`{line}`" for line in lines]
    words = " ".join(("python -m", f"style_match.{case.step}", case.words))
    return f"| {case.name} | {case.mistake} | `{words}` | {'<br>'.join(lines) if code else 'works'} | {code} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path, required=True, help="an empty folder")
    parser.add_argument("--only", nargs="*", help="names of cases; they are printed, and table.md is left alone")
    parser.add_argument("--workers", type=int, default=2, help="commands at once")
    options = parser.parse_args()
    chosen = [case for case in CASES if options.only is None or case.name in options.only]
    bench = Bench(options.scratch.resolve())
    folders = [bench.build(case) for case in chosen]
    rows = [HEADER, "|---|---|---|---|---|"]
    with ThreadPoolExecutor(options.workers) as pool:
        for case, folder, done in zip(chosen, folders, pool.map(bench.answer, chosen, folders), strict=True):
            rows.append(as_row(case, shown(done.stderr, folder), done.returncode))
            print(rows[-1], flush=True)
    if options.only is None:
        TABLE.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
