"""Recorded tables agree with their runs; the dashboard shows what runs log."""

import csv
import importlib.util
import re
import sys
from collections import defaultdict
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from experiments.tables import tables

ROOT = Path(__file__).resolve().parents[2]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / "experiments" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", tables.NAMES)
def test_a_recorded_table_is_the_mean_of_its_runs(name: str):
    spec, folder = tables.spec_of(name), tables.HERE / name
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        runs = list(csv.DictReader(file))
    latest = runs[-1]["code"]
    values = defaultdict(list)
    for run in runs:
        if run["code"] == latest:
            for metric in spec["metrics"]:
                values[run["row"], metric].append(100 * float(run[metric]))
    table = (folder / "table.md").read_text(encoding="utf-8").split("| minus")[0]
    for row, told in spec["rows"].items():
        line = next(line for line in table.splitlines() if line.startswith(f"| {told['label']} |"))
        shown = [float(cell.split("<br>")[0]) for cell in line.split("|")[2:] if re.match(r" \d", cell)]
        for metric, value in zip(spec["metrics"], shown, strict=False):
            assert value == pytest.approx(np.mean(values[row, metric]), abs=0.0501), (row, metric)
    assert "synthetic" in table


def test_the_dashboard_shows_what_runs_log():
    pytest.importorskip("wandb_workspaces")
    from style_match.training.outputs import MODELS

    build = script("dashboard/build.py")
    spec = build.specification(build.workspace("somebody", "style_match", ["head.dim"]))
    sections = spec["spec"]["section"]["panelBankConfig"]["sections"]
    bars = {m for s in sections for p in s["panels"] if p["viewType"] == "Bar Chart" for m in p["config"]["metrics"]}
    recall = {f"test/{model}/recall@{k}" for model in MODELS for k in (5, 10, 20, 30, 50)}
    assert bars == recall | {"test/trained/mrr", "test/trained/precision@5"}
    curves = {m for s in sections for p in s["panels"] if "Line" in p["viewType"] for m in p["config"]["metrics"]}
    assert curves == {"val/mrr", "val/recall@5", "train/loss", "val/loss", "val/effective_rank"}
    assert all(f'"{table}"' in str(sections).replace("'", '"') for table in ("test/metrics", "test/ranks"))
    assert spec["spec"]["section"]["runSets"][0]["grouping"] == [{"section": "config", "name": "head.value.dim"}]


def test_the_dashboard_script_sends_nothing_with_spec(tmp_path: Path, capsys, monkeypatch):
    pytest.importorskip("wandb_workspaces")
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("asked the network"))
    script("dashboard/build.py").main(["--entity", "somebody", "--spec", str(tmp_path / "spec.json")])
    assert (tmp_path / "spec.json").stat().st_size > 1000 and "spec.json" in capsys.readouterr().out


def test_a_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    with pytest.raises(SystemExit, match=r"style_match\[dashboard\]"):
        script("dashboard/build.py").main(["--entity", "somebody"])
