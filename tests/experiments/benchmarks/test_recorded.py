"""The tables in README.md and in experiments are those of the recorded results."""

import importlib
import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[3]
BENCHMARKS = ROOT / "experiments" / "benchmarks"


def test_the_recorded_tables_are_those_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    measure, table = map(importlib.import_module, ("measure", "table"))
    results = BENCHMARKS / "results"
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(results.glob("*.json"))]
    assert {found["part"] for found in parts} == set(measure.parts())
    assert (BENCHMARKS / "table.md").read_text(encoding="utf-8") == table.whole_table(parts)
    assert table.readme_table(parts) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_plan_is_that_of_the_results():
    folder = ROOT / "experiments" / "scale"
    assert runpy.run_path(str(folder / "plan.py"))["plan"]() == (folder / "plan.md").read_text(encoding="utf-8")
