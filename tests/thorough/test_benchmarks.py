"""How benchmarks take times, what they write, and that every part runs."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from style_match.backbone.qwen3_vl import Qwen3VL
from style_match.data.prompt import render

BENCHMARKS = Path(__file__).parents[2] / "experiments" / "benchmarks"


@pytest.fixture
def part(monkeypatch):
    """Imports a module of the benchmarks, which are not a package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_ways_are_taken_in_turn_and_the_order_turns_round(part):
    taken, before = [], []
    ways = {name: lambda name=name: taken.append(name) for name in "ab"}
    options = {"repetitions": 2, "what": "x", "before": lambda: before.append(len(taken))}
    seconds = part("measure").alternate(ways, **options)
    assert taken == ["a", "b", "b", "a", "a", "b"]  # the first turn warms up
    assert before == list(range(6))
    assert {name: len(times) for name, times in seconds.items()} == {"a": 2, "b": 2}


def test_a_ratio_is_taken_turn_by_turn(part):
    found = part("measure").ratio([1.0, 4.0, 9.0], [1.0, 2.0, 3.0])
    assert found == {"median": 2.0, "min": 1.0, "max": 3.0}


def test_an_exponent_is_that_of_the_power(part):
    assert part("measure").exponent([10, 100, 1000], [3 * n**1.5 for n in (10, 100, 1000)]) == pytest.approx(1.5)


def test_what_is_not_equal_is_not_timed(part):
    measure = part("measure")
    results = measure.Results("x", "title")
    results.check("alike", 1e-7, 1e-6)
    for difference in (2e-6, float("nan")):
        with pytest.raises(measure.Unequal, match="not alike"):
            results.check("not alike", difference, 1e-6)


def test_the_tables_say_what_was_measured(part, tmp_path):
    measure, run = part("measure"), part("run")
    results = measure.Results("part", "a part")
    for size, of in (("small", [1.0, 1.0]), ("large", [3.0, 2.0])):
        results.compare("ours", "theirs", of, [1.0, 1.0], size=size, goal=1.5)
    results.grow("ours", "rows", [1, 10, 100], [1.0, 10.0, 100.0])
    results.fact("memory", 0.5, "GB", goal="below 1 GB", met=True)
    results.check("sums", 0.0, 1e-6)
    results.write(tmp_path)
    run.write_tables(tmp_path, tmp_path)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| ours | theirs | small | 1.00 | 1.00 to 1.00 | at most 1.50: met |" in text
    assert "| ours | theirs | large | 2.50 | 2.00 to 3.00 | at most 1.50: **missed** |" in text
    assert "| memory |  | 0.5 GB | below 1 GB: met |" in text
    assert "| ours | 1, 10, 100 rows | 1, 10, 100 | 1.00 |" in text
    written = json.loads((tmp_path / "part.json").read_text(encoding="utf-8"))
    short = run.comparisons([written])
    assert "large" in short and "small" not in short and written["about"]["machine"]["cpu"] in short


def test_a_way_that_returns_seconds_is_timed_by_them(part):
    assert part("measure").alternate({"own": lambda: 7.0}, repetitions=2, what="x") == {"own": [7.0, 7.0]}


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux counts peaks")
def test_peak_memory_is_that_of_the_run(part):
    peak_memory = part("measure").peak_memory
    peaks = [peak_memory(lambda: len(b"x" * 50_000_000), torch.device("cpu")) for _ in range(2)]
    assert all(45e6 < peak < 60e6 for peak in peaks)


@pytest.mark.parametrize("size", [(200, 130), (64, 64), (90, 500)])
def test_operations_are_those_that_torch_counts(part, tmp_path, size):
    part("measure").write_checkpoint(tmp_path)
    cfg = OmegaConf.load(BENCHMARKS.parents[1] / "conf" / "backbone" / "qwen3_vl_2b.yaml")
    names = ("fused_patch_embedding", "image_backend", "layer")
    given = {name: cfg[name] for name in names} | {"dtype": "fp32", "attention": "eager", "device": "cpu"}
    backbone = Qwen3VL(folder=tmp_path, min_pixels=4096, max_pixels=16384, **given)
    options = dict(image=True, metadata=None, system=None, template="{instruction}", leave_out=())
    inputs = backbone.preprocess([Image.new("RGB", size)], [render(instruction="Describe.", **options)])
    with FlopCounterMode(display=False) as counter:
        backbone.hidden(inputs)
    counted = part("extraction_flops").model_flops(
        backbone.model.config, len(inputs["pixel_values"]), inputs["input_ids"].shape[1]
    )
    assert counted == counter.get_total_flops() > 0


def run(*words: object, **environment: str) -> subprocess.CompletedProcess:
    command = [sys.executable, BENCHMARKS / "run.py", *words]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)


@pytest.mark.parametrize("name", ["evaluation", "extraction", "step", "store", "startup", "sweep"])
def test_a_part_runs(tmp_path, name):
    """Packages that only `make bench` installs are compared with where they are installed."""
    if name == "evaluation":
        pytest.importorskip("faiss", reason="the extra faiss is not installed")
    (scratch := tmp_path / "scratch").mkdir()
    done = run(name, "--small", "--out", tmp_path, TMPDIR=str(scratch))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert found["comparisons"] and found["checks"] and found["growth"]
    assert all(second > 0 for row in found["comparisons"] for second in row["seconds"]["of"])
    goals = {"evaluation": {1.2}, "extraction": {1.15}, "step": {1.1}, "sweep": {1.3}}
    assert {row["goal"] for row in found["comparisons"]} - {None} == goals.get(name, set())
    assert all(fact["met"] is not None for fact in found["facts"] if fact["goal"])
    assert not list(scratch.iterdir()), "the part leaves files behind"


def test_an_unknown_part_is_named():
    done = run("sleep")
    assert done.returncode == 2 and "there is no part sleep; the parts are" in done.stderr
    assert run("--small").returncode == 2
