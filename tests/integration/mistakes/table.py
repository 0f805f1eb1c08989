"""Renew table.md, every mistake with its answer: `python -m tests.integration.mistakes.table`."""

import os
import shlex
import tempfile
from pathlib import Path

from tests.commands import run_process
from tests.integration.mistakes import bench
from tests.integration.mistakes.case import Case

FILE = Path(__file__).with_name("table.md")
HEADER = ("| case | mistake | command | answer | exit |", "|---|---|---|---|---|")


def as_row(case: Case, text: str, code: int) -> str:
    lines = [line.strip().replace("|", "\\|") for line in text.splitlines() if not line.startswith(bench.PROGRESS)]
    lines = [f"`` {line} ``" if "`" in line else f"`{line}`" for line in lines]
    words = f"python -m style_match.{case.step} {case.words}"
    return f"| {case.name} | {case.mistake} | `{words}` | {'<br>'.join(lines) if code else 'works'} | {code} |"


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        good, rows = Path(scratch) / "good", list(HEADER)
        os.environ["STYLE_MATCH_CACHE"] = f"{scratch}/cache"
        good.mkdir()
        bench.make_good(good)
        for case in bench.CASES:
            folder = bench.build(case, good, Path(scratch) / case.name)
            if case.own_process:
                own = {name: value.replace("FOLDER", str(folder)) for name, value in case.environment.items()}
                words = shlex.split(case.words.replace("FOLDER", str(folder)))
                done = run_process(case.step, words, cwd=folder, environment=own)
            else:
                done = bench.answer(case, folder)
            rows.append(as_row(case, bench.shown(done.stderr, folder), done.returncode))
            print(rows[-1], flush=True)
    FILE.write_text("\n".join(rows) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
