"""The tables of measured parts: table.md, and the block of the README between its `table benchmarks` marks."""

import json
import re
from pathlib import Path
from typing import Any

from measure import ROOT

from style_match.utils.files import write_whole

MARKED = re.compile(r"(<!-- table benchmarks -->\n).*?(<!-- end -->)", re.DOTALL)


def write_tables(results: Path, *, readme: bool) -> None:
    """Write table.md from every PART.json of a folder and, with `readme`, the README's block."""
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    write_whole((results.parent if readme else results) / "table.md", whole_table(parts))
    if readme:
        path = ROOT / "README.md"
        text = path.read_text(encoding="utf-8")
        write_whole(path, MARKED.sub(lambda found: found[1] + readme_table(parts) + found[2], text))


def readme_table(parts: list[dict[str, Any]]) -> str:
    """The comparisons at their largest size, and how costs grow."""
    rows = [row for part in parts for row in largest(part["comparisons"])]
    return "\n".join([*_comparison_lines(rows), "", *_about(parts), ""])


def largest(comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each comparison the last size that was measured, which is the largest."""
    return list({(row["what"], row["against"]): row for row in comparisons}.values())


def whole_table(parts: list[dict[str, Any]]) -> str:
    """Everything that was measured."""
    lines = ["# Benchmarks", "", *_about(parts), ""]
    for part in parts:
        lines += [f"## {part['part']}: {part['title']}", "", *_comparison_lines(part["comparisons"]), ""]
        if part["facts"]:
            lines += ["| figure | size | value | goal |", "| --- | --- | ---: | --- |"]
            lines += [
                f"| {fact['what']} | {fact['size']} | {_number(fact['value'])} {fact['unit']} | {_fact_goal(fact)} |"
                for fact in part["facts"]
            ]
            lines += [""]
        if part["growth"]:
            lines += ["| cost | sizes | seconds | exponent |", "| --- | --- | --- | ---: |"]
            lines += [
                f"| {row['what']} | {', '.join(f'{size:,}' for size in row['sizes'])} {row['unit']} "
                f"| {', '.join(_number(s) for s in row['seconds'])} | {row['exponent']:.2f} |"
                for row in part["growth"]
            ]
            lines += [""]
        lines += ["Checked to be equal:", ""]
        lines += [f"- {c['what']}: {c['difference']:.2g} (at most {c['at_most']:.2g})" for c in part["checks"]]
        lines += ["", f"`{part['about']['command']}`, {part['about']['wall_time_s']:.0f} s.", ""]
    return "\n".join(lines)


def _comparison_lines(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["| this | against | size | ratio of times | range | goal |", "| --- | --- | --- | ---: | ---: | --- |"]
    for row in rows:
        found = row["ratio"]
        met = "" if row["goal"] is None else f"at most {row['goal']:.2f}: " + _met(found["median"] <= row["goal"])
        lines.append(
            f"| {row['what']} | {row['against']} | {row['size']} | {found['median']:.2f} | {_range(row)} | {met} |"
        )
    return lines


def _range(row: dict[str, Any]) -> str:
    return "once" if row["repetitions"] == 1 else f"{row['ratio']['min']:.2f} to {row['ratio']['max']:.2f}"


def _about(parts: list[dict[str, Any]]) -> list[str]:
    """Machine and versions, said once for all parts that share them."""
    said: dict[str, list[str]] = {}
    for part in parts:
        about = part["about"]
        on, git, versions = about["machine"], about["git"] or {}, about["versions"]
        where = f"{on['gpu'] or on['cpu']}, {on['cores']} cores, {on['memory_gb']} GB"
        what = ", ".join(f"{name} {versions[name]}" for name in ("torch", "transformers", "lightning"))
        commit = str(git.get("commit"))[:10] + (" with changes" if git.get("dirty") else "")
        said.setdefault(f"{where}; {what}; commit {commit}", []).append(part["part"])
    repetitions = sorted({row["repetitions"] for part in parts for row in part["comparisons"]})
    times = " or ".join(map(str, repetitions))
    head = f"Medians and ranges of {times} repetitions, the ways taken in turn; below 1 is faster than the other."
    return [f"{head}  ", *(f"{', '.join(names)}: {text}.  " for text, names in said.items())]


def _fact_goal(fact: dict[str, Any]) -> str:
    return f"{fact['goal']}: {_met(fact['met'])}" if fact["goal"] else ""


def _met(met: bool) -> str:
    return "met" if met else "**missed**"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
