"""Put each fault of mutants.toml into a copy of the code and run the tests: a fault that none notices is a gap.

python -m tests.mutants.run [--only NAME ...] [--tests both|named|whole|PATH ...] [--list]

The copy's own package and tests are run, one process at a time. First the tests that a mutant names, then, if these
pass, all others of `--markers`. The exit code is 1 if a mutant survives or cannot be applied.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MUTANTS = Path(__file__).with_name("mutants.toml")
PACKAGE = "style_match"
COPIED = (PACKAGE, "conf", "tests", "experiments", "pyproject.toml", "constraints.txt", "Makefile", "LICENSE")
COPIED = (*COPIED, "README.md", "CHANGELOG.md", "CONTRIBUTING.md")
TIMEOUT_S = 1800  # a mutant may make a loop endless
NOTICED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
NO_TESTS = 5  # pytest's exit code where the markers deselect every test


@dataclass(frozen=True)
class Mutant:
    """`old` occurs once in `file`, which is below style_match/; `tests` are paths that should notice `new`."""

    name: str
    area: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


def read_mutants() -> list[Mutant]:
    entries = tomllib.loads(MUTANTS.read_text(encoding="utf-8"))["mutant"]
    return [Mutant(**{**entry, "tests": tuple(entry["tests"])}) for entry in entries]


class Copy:
    """A scratch copy of a checkout, with a mutant in it or none."""

    def __init__(self, root: Path, folder: Path):
        self.folder = folder
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif (root / name).is_file():
                shutil.copy2(root / name, folder / name)
        # the copy comes before an installed checkout, for the tests and for the processes that they start
        self.environment = {**os.environ, "PYTHONPATH": str(folder)}
        code = f"import {PACKAGE}; print({PACKAGE}.__file__)"
        found = self._call("-c", code, timeout=60).stdout.strip()
        if not Path(found).resolve().is_relative_to(folder.resolve()):
            raise SystemExit(f"the tests would import {found}, not the copy in {folder}")

    def _call(self, *words: str, timeout: float) -> subprocess.CompletedProcess[str]:
        words = (sys.executable, *words)
        return subprocess.run(
            words, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=timeout
        )

    def text(self, mutant: Mutant) -> str:
        file = self.folder / PACKAGE / mutant.file
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    def write(self, mutant: Mutant, text: str) -> None:
        file = self.folder / PACKAGE / mutant.file
        file.write_text(text, encoding="utf-8")
        # Python compares only size and whole seconds of a source file with its compiled one
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()

    def noticed(self, paths: Sequence[str], markers: str) -> str | None:
        """The first test that fails, None where all pass."""
        words = ["-m", "pytest", "-x", "-q", "-m", markers, "-p", "no:cacheprovider", "--tb=no", "-rfE"]
        try:
            done = self._call(*words, *paths, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return f"no end after {TIMEOUT_S} s"
        if done.returncode in (0, NO_TESTS):
            return None
        found = NOTICED.search(done.stdout)
        return found[1] if found else f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-300:]}"


def chosen_paths(copy: Copy, mutant: Mutant, tests: Sequence[str]) -> list[list[str]]:
    """The paths to run, one list after the other."""
    if tests[0] not in ("both", "named", "whole"):
        return [list(tests)]
    whole = ["tests", "--ignore=tests/mutants"]  # a test there reads whether mutants.toml fits the code
    named = [path for path in mutant.tests if (copy.folder / path).exists()]
    if not named and tests[0] != "whole":
        raise SystemExit(f"{mutant.name}: none of its tests exists: {', '.join(mutant.tests)}")
    return {"named": [named], "whole": [whole], "both": [named, whole]}[tests[0]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants")
    parser.add_argument("--tests", nargs="+", default=["both"], help="both, named, whole, or paths of tests")
    parser.add_argument("--markers", action="append", help="of the tests to run; several: one after the other")
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[2], help="another checkout to mutate")
    parser.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    options = parser.parse_args()
    mutants = [mutant for mutant in read_mutants() if not options.only or mutant.name in options.only]
    if unknown := set(options.only or ()) - {mutant.name for mutant in mutants}:
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}")
    if options.list:
        for mutant in mutants:
            print(f"{mutant.area:<15} {mutant.name:<60} {mutant.file}")
        return 0
    stages = options.markers or ["not thorough"]
    verdicts: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(options.root.resolve(), Path(folder))
        first = dict.fromkeys(path for mutant in mutants for path in chosen_paths(copy, mutant, options.tests)[0])
        if failed := copy.noticed(list(first), stages[0]):
            print(f"without a mutant the tests fail already: {failed}")
            return 1
        for mutant in mutants:
            began, before = time.perf_counter(), copy.text(mutant)
            if before.count(mutant.old) != 1:
                verdict, by = "ERROR", f"`old` occurs {before.count(mutant.old)} times in {mutant.file}"
            else:
                copy.write(mutant, before.replace(mutant.old, mutant.new))
                runs = [(paths, each) for paths in chosen_paths(copy, mutant, options.tests) for each in stages]
                by = next(filter(None, (copy.noticed(*run) for run in runs)), "")
                copy.write(mutant, before)
                verdict = "killed" if by else "SURVIVED"
            verdicts[verdict] = verdicts.get(verdict, 0) + 1
            print(f"{verdict:<8} {mutant.name} {by} ({time.perf_counter() - began:.0f} s)", flush=True)
    print(f"{len(mutants)} mutants: " + ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()))
    return int(set(verdicts) != {"killed"})


if __name__ == "__main__":
    sys.exit(main())
