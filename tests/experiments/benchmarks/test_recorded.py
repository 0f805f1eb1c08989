"""The tables of the benchmarks and the plan are those of the recorded results."""

import importlib
import json
import runpy
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
BENCHMARKS = ROOT / "experiments" / "benchmarks"


def test_the_recorded_tables_are_those_of_the_results(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    run = importlib.import_module("run")
    parts = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((BENCHMARKS / "results").glob("*.json"))]
    assert {found["part"] for found in parts} == {*yaml.safe_load((BENCHMARKS / "options.yaml").read_text())}
    assert (BENCHMARKS / "table.md").read_text(encoding="utf-8") == run.full_table(parts)
    assert (BENCHMARKS / "comparisons.md").read_text(encoding="utf-8") == run.comparisons(parts)


def test_the_plan_is_that_of_the_results():
    folder = ROOT / "experiments" / "scale"
    assert runpy.run_path(str(folder / "plan.py"))["plan"]() == (folder / "plan.md").read_text(encoding="utf-8")
