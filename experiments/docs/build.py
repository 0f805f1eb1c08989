"""Write what the documents quote: `python -m experiments.docs.build [--no-commands]`, or `make docs`.

- conf/README.md and its other pages come from the comments of the YAML files (`options.py`).
- The text between `<!-- begin NAME -->` and `<!-- end NAME -->` of every page comes from a recorded result below
  experiments/ (`RECORDED`), or is the output of a command (`COMMANDS`, which takes less than a minute each).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from experiments.docs import options

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
BLOCK = re.compile(r"(<!-- begin ([\w.-]+) -->\n).*?(<!-- end \2 -->)", re.DOTALL)


def pages() -> list[Path]:
    """Return every page of the repository."""
    below = [page for folder in ("conf", "style_match", "experiments") for page in (ROOT / folder).rglob("*.md")]
    recorded = ("table.md", "comparisons.md", "plan.md")
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(page for page in below if page.name not in recorded)]


def recorded(path: str) -> str:
    """Return a file below experiments/ as it is."""
    return (EXPERIMENTS / path).read_text(encoding="utf-8").strip("\n")


def part(path: str, heading: str) -> str:
    """Return the part of a recorded Markdown file under the heading that begins so, without the heading."""
    text = recorded(path).partition(f"### {heading}")[2].partition("\n### ")[0]
    return text.partition("\n")[2].strip("\n")


def narrow(table: str, columns: Sequence[str], *, rows: Sequence[str] = (), without: str = "/") -> str:
    """Return the first Markdown table of a text with some columns and rows, intervals in the line of their value.

    Args:
        table: The text.
        columns: Heads of the columns to keep beside the first one.
        rows: First cells of the rows to keep, each once; none: all rows.
        without: Rows whose first cell begins so are left out.
    """
    lines = re.search(r"(?:^\|.*\n?)+", table, re.M)[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    kept = [0, *(cells[0].index(column) for column in columns)]
    wanted = list(rows)
    shown = []
    for number, row in enumerate(cells):
        if number > 1 and rows:
            if row[0] not in wanted:
                continue
            wanted.remove(row[0])
        if not row[0].startswith(without):
            values = [re.sub(r"<br>\[?([^\]]+)\]?", r" (\1)", row[column]) for column in kept]
            shown.append(f"| {' | '.join(values)} |")
    return "\n".join(shown)


def main_table(name: str) -> str:
    """Return the first table of experiments/tables/NAME."""
    return re.search(r"(?:^\|.*\n)+", recorded(f"tables/{name}/table.md"), re.M)[0]


def differences(name: str) -> str:
    """Return the second table of experiments/tables/NAME: each row against another."""
    return re.findall(r"(?:^\|.*\n)+", recorded(f"tables/{name}/table.md"), re.M)[1]


def beside_paper() -> str:
    """Return some columns of table 1 beside the numbers that the paper prints."""
    lines = ["| percent | R@5 | R@5, paper | MRR | MRR, paper |", "|---|---:|---:|---:|---:|"]
    rows = [row.strip("|").split("|") for row in narrow(main_table("table1"), ("R@5", "MRR")).splitlines()[2:]]
    for (name, recall, mrr), (_, paper_recall, paper_mrr) in zip(rows[::2], rows[1::2], strict=True):
        cells = [name, recall, paper_recall.replace("*", ""), mrr, paper_mrr.replace("*", "")]
        lines.append(f"| {' | '.join(cell.strip() for cell in cells)} |")
    return "\n".join(lines)


def demo() -> str:
    """Return the table that `make demo` prints."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "style_match.train", f"hydra.run.dir={folder}/run", "progress=false"]
        given = {"cwd": ROOT, "env": {**os.environ, "COLUMNS": "80"}, "text": True}
        out = subprocess.run(words, check=True, stdout=subprocess.PIPE, **given).stdout
    table = out[out.index("Test split:") :].partition(f"\n{folder}")[0]
    return "```\n" + "\n".join(map(str.rstrip, table.splitlines())) + "\n```"


def worlds() -> str:
    """Return the means over the ten worlds."""
    return "```\n" + "Synthetic data;" + recorded("demo_worlds/result.txt").partition("Synthetic data;")[2] + "\n```"


def text_search(heading: str) -> str:
    """Return the main rows of one kind of request in the table of experiments/text_search."""
    ways = (
        "chance",
        "text through the untrained path",
        "the captions' own features, untrained",
        "`text_weight=0`, text head fitted at export: photos",
        "the same: both",
    )
    table = recorded("text_search/table.md").partition(f"**{heading}**")[2]
    return narrow(table, ("R@1", "R@5", "MRR"), rows=ways)


TABLES = ("table1", "table2", "table3", "style", "recipes", "prompts")
PERCENT = ("R@5", "R@20", "MRR")
VERDICT = ("against", "MRR", "p, Holm", "verdict")
RECORDED: Mapping[str, Callable[[], str]] = {
    **{name: lambda name=name: recorded(f"tables/{name}/table.md") for name in TABLES},
    "table1-paper": beside_paper,
    "table3-short": lambda: narrow(main_table("table3"), PERCENT, without="*paper"),
    "table3-differences": lambda: narrow(differences("table3"), VERDICT),
    "style-short": lambda: narrow(main_table("style"), ("P@5", "MAP@R", "MRR", "seed sd of MRR")),
    "prompts-short": lambda: narrow(main_table("prompts"), PERCENT),
    "recipes-short": lambda: narrow(main_table("recipes"), PERCENT),
    "worlds": worlds,
    "hybrid": lambda: recorded("hybrid/table.md"),
    "text_search": lambda: recorded("text_search/table.md"),
    "text_search-english": lambda: text_search("Short English requests"),
    "text_search-korean": lambda: text_search("Short Korean requests"),
    "balancing": lambda: part("balancing/table.md", "P@5 of each class"),
    "balancing-differences": lambda: part("balancing/table.md", "Balanced minus not balanced, P@5"),
    "benchmarks": lambda: recorded("benchmarks/comparisons.md"),
}
COMMANDS: Mapping[str, Callable[[], str]] = {"demo": demo}  # each takes less than a minute


def filled(text: str, sources: Mapping[str, Callable[[], str]], made: dict[str, str]) -> str:
    """Return a page with its blocks of these sources renewed; `made` keeps those that were made.

    Raises:
        KeyError: A block has a name that no source has.
    """

    def fill(found: re.Match[str]) -> str:
        name = found[2]
        if name not in RECORDED and name not in COMMANDS:
            raise KeyError(f"<!-- begin {name} -->: no source has this name")
        if name not in sources:
            return found[0]
        if name not in made:
            made[name] = sources[name]()
        return f"{found[1]}{made[name]}\n{found[3]}"

    return BLOCK.sub(fill, text)


def stale(sources: Mapping[str, Callable[[], str]]) -> dict[Path, str]:
    """Return the right text of each page that is not up to date."""
    made: dict[str, str] = {}
    right = {options.CONF / name: options.page(name) for name in options.PAGES}
    for page in pages():
        right[page] = filled(right.get(page) or page.read_text(encoding="utf-8"), sources, made)
    return {page: text for page, text in right.items() if not page.exists() or page.read_text(encoding="utf-8") != text}


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-commands", action="store_true", help="renew recorded results only; runs nothing")
    given = parser.parse_args(words)
    for page, text in stale(RECORDED if given.no_commands else {**RECORDED, **COMMANDS}).items():
        page.write_text(text, encoding="utf-8")
        print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
