"""`make bench`, or `python experiments/benchmarks/run.py [PART ...] [--small] [--out DIR]`.

Measures each part in a separate process, which writes results/PART.json, and writes table.md and comparisons.md from
all results. `make docs` then puts the comparisons into experiments/README.md.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from style_match.utils.files import write_whole

HERE = Path(__file__).parent


def main() -> int:
    parts = list(yaml.safe_load((HERE / "options.yaml").read_text(encoding="utf-8")))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one or more of {', '.join(parts)}; default: all")
    parser.add_argument("--small", action="store_true", help="tiny sizes, which only show that everything runs")
    parser.add_argument("--out", type=Path, help="folder for the results; default: the repository's")
    given = parser.parse_args()
    if unknown := [part for part in given.parts if part not in parts]:
        parser.error(f"there is no part {', '.join(unknown)}; the parts are {', '.join(parts)}")
    if given.small and given.out is None:
        parser.error("--small needs --out DIR: its numbers are not results")
    out = given.out or HERE / "results"
    failed = []
    for part in given.parts or parts:
        print(f"{part}:", file=sys.stderr, flush=True)
        words = [sys.executable, str(HERE / f"{part}.py"), *(["--small"] if given.small else []), str(out)]
        if subprocess.run(words).returncode:
            failed.append(part)
    write_tables(out, HERE if given.out is None else out)
    if failed:
        print(f"Not measured: {', '.join(failed)}. See the errors above.", file=sys.stderr)
    return 1 if failed else 0


def write_tables(results: Path, out: Path) -> None:
    """Write table.md and comparisons.md from every PART.json of a folder."""
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    write_whole(out / "table.md", full_table(parts))
    write_whole(out / "comparisons.md", comparisons(parts))
    print(out / "table.md")


def comparisons(parts: list[dict[str, Any]]) -> str:
    """Return the comparisons at their largest size, which is the last one of each."""
    largest = {(row["what"], row["against"]): row for part in parts for row in part["comparisons"]}
    return "\n".join([*_comparisons(list(largest.values())), "", *_about(parts), ""])


def full_table(parts: list[dict[str, Any]]) -> str:
    """Return all results."""
    lines = ["# Benchmarks", "", *_about(parts), ""]
    for part in parts:
        lines += [f"## {part['part']}: {part['title']}", "", *_comparisons(part["comparisons"]), ""]
        if part["facts"]:
            cells = []
            for fact in part["facts"]:
                value = f"{_number(fact['value'])} {fact['unit']}"
                cells.append([fact["what"], fact["size"], value, _goal(fact["goal"], fact["met"])])
            lines += [*_table(["figure", "size", "value", "goal"], "lldl", cells), ""]
        if part["growth"]:
            cells = []
            for row in part["growth"]:
                sizes = f"{', '.join(f'{size:,}' for size in row['sizes'])} {row['unit']}"
                cells.append([row["what"], sizes, ", ".join(map(_number, row["seconds"])), f"{row['exponent']:.2f}"])
            lines += [*_table(["cost", "sizes", "seconds", "exponent"], "llld", cells), ""]
        lines += ["Checked to be equal:", ""]
        lines += [f"- {c['what']}: {c['difference']:.2g} (at most {c['at_most']:.2g})" for c in part["checks"]]
        lines += ["", f"`{part['about']['command']}`, {part['about']['wall_time_s']:.0f} s.", ""]
    return "\n".join(lines)


def _comparisons(rows: list[dict[str, Any]]) -> list[str]:
    cells = []
    for row in rows:
        found, goal = row["ratio"], row["goal"]
        spread = "once" if row["repetitions"] == 1 else f"{found['min']:.2f} to {found['max']:.2f}"
        met = "" if goal is None else _goal(f"at most {goal:.2f}", found["median"] <= goal)
        cells.append([row["what"], row["against"], row["size"], f"{found['median']:.2f}", spread, met])
    return _table(["this", "against", "size", "ratio of times", "range", "goal"], "lllddl", cells)


def _table(heads: list[str], kinds: str, cells: list[list[str]]) -> list[str]:
    """Return the lines of a Markdown table; of the kinds of columns, `d` is set to the right."""
    ruler = " | ".join({"l": "---", "d": "---:"}[kind] for kind in kinds)
    return [f"| {' | '.join(row)} |" for row in (heads, [ruler], *cells)]


def _about(parts: list[dict[str, Any]]) -> list[str]:
    """Return machine and versions, once for all parts that share them."""
    named: dict[str, list[str]] = {}
    for part in parts:
        about = part["about"]
        on, git, versions = about["machine"], about["git"] or {}, about["versions"]
        where = f"{on['gpu'] or on['cpu']}, {on['cores']} cores, {on['memory_gb']} GB"
        what = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "lightning"))
        commit = str(git.get("commit"))[:10] + (" with changes" if git.get("dirty") else "")
        named.setdefault(f"{where}; {what}; commit {commit}", []).append(part["part"])
    repetitions = sorted({row["repetitions"] for part in parts for row in part["comparisons"]})
    times = " or ".join(map(str, repetitions))
    head = f"Medians and ranges of {times} repetitions, the ways taken in turn; below 1 is faster than the other."
    return [f"{head}  ", *(f"{', '.join(names)}: {text}.  " for text, names in named.items())]


def _goal(goal: str, met: bool | None) -> str:
    return f"{goal}: {'met' if met else '**missed**'}" if goal else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
