"""`make bench`, or `python experiments/benchmarks/run.py [PART ...] [--small] [--again] [--out DIR]`.

Measures each part in a process of its own, writes results/PART.json, and from all of them table.md and the table of the
README. A part that was measured with the same code on the same machine is not measured again unless `--again` is said.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import measure
from measure import HERE, RANDOM_CHECKPOINT, ROOT
from table import write_tables

from style_match.training.run_folder import CORE_PACKAGES, code_hash, versions
from style_match.utils import progress


def main() -> int:
    parts = list(measure.parts())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(parts)}; all if none is named")
    parser.add_argument("--small", action="store_true", help="tiny sizes, which only show that everything runs")
    parser.add_argument("--again", action="store_true", help="measure also what was measured with the same code")
    parser.add_argument("--out", type=Path, help="folder of the results; the repository's own if not given")
    given = parser.parse_args()
    if unknown := [part for part in given.parts if part not in parts]:
        parser.error(f"there is no part {', '.join(unknown)}; take of {', '.join(parts)}")
    if given.small and given.out is None:
        parser.error("--small needs --out DIR: its figures are not results")
    out = given.out or HERE / "results"
    failed = [part for part in given.parts or parts if not measured(part, out, small=given.small, again=given.again)]
    write_tables(out, readme=given.out is None)
    print(out.parent / "table.md" if given.out is None else out / "table.md")
    if failed:
        print(f"Not measured: {', '.join(failed)}; what went wrong stands above.", file=sys.stderr)
    return 1 if failed else 0


def measured(part: str, out: Path, *, small: bool, again: bool) -> bool:
    """Measure a part, unless its result is at hand; whether it has one now."""
    stamp = stamp_of(part) | {"small": small}
    done = out / f"{part}.json"
    if not again and done.exists() and json.loads(done.read_text(encoding="utf-8")).get("stamp") == stamp:
        progress.say(f"{part}: measured already with this code on this machine ({done})")
        return True
    progress.say(f"{part}:")
    words = [sys.executable, str(HERE / f"{part}.py"), *(["--small"] if small else []), str(out)]
    if subprocess.run(words).returncode:
        return False
    content = json.loads(done.read_text(encoding="utf-8"))
    done.write_text(json.dumps(content | {"stamp": stamp}, indent=1) + "\n", encoding="utf-8")
    return True


def stamp_of(part: str) -> dict[str, object]:
    """What a part's figures depend on: package, settings, the benchmarks' files and options, versions, machine."""
    digest = hashlib.sha256(code_hash().encode())
    for path in sorted([*HERE.glob("*.py"), RANDOM_CHECKPOINT, *(ROOT / "conf").rglob("*.yaml")]):
        digest.update(path.read_bytes())
    digest.update(json.dumps(measure.parts()[part]).encode())
    return {
        "code": digest.hexdigest(),
        "versions": versions(("style_match", *CORE_PACKAGES, *measure.RIVALS)),
        "machine": measure.machine(),
    }


if __name__ == "__main__":
    sys.exit(main())
