"""How benchmarks take times, and what they write of them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "experiments" / "benchmarks"


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
    measure, table = part("measure"), part("table")
    results = measure.Results("part", "a part")
    for size, of in (("small", [1.0, 1.0]), ("large", [3.0, 2.0])):
        results.compare("ours", "theirs", of, [1.0, 1.0], size=size, goal=1.5)
    results.grow("ours", "rows", [1, 10, 100], [1.0, 10.0, 100.0])
    results.fact("memory", 0.5, "GB", goal="below 1 GB", met=True)
    results.check("sums", 0.0, 1e-6)
    results.write(tmp_path)
    table.write_tables(tmp_path, readme=False)
    text = (tmp_path / "table.md").read_text(encoding="utf-8")
    assert "| ours | theirs | small | 1.00 | 1.00 to 1.00 | at most 1.50: met |" in text
    assert "| ours | theirs | large | 2.50 | 2.00 to 3.00 | at most 1.50: **missed** |" in text
    assert "| memory |  | 0.5 GB | below 1 GB: met |" in text
    assert "| ours | 1, 10, 100 rows | 1, 10, 100 | 1.00 |" in text
    written = json.loads((tmp_path / "part.json").read_text(encoding="utf-8"))
    short = table.readme_table([written])
    assert "large" in short and "small" not in short and written["about"]["machine"]["cpu"] in short


def run(*words: str) -> subprocess.CompletedProcess:
    command = [sys.executable, str(BENCHMARKS / "run.py"), *words]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["step", "sweep", "startup"])
def test_a_part_runs(tmp_path, name):
    done = run(name, "--small", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert found["comparisons"] and found["checks"] and found["growth"]
    again = run(name, "--small", "--out", str(tmp_path))
    assert again.returncode == 0 and "measured already" in again.stderr


def test_a_part_that_is_not_there_is_named():
    done = run("sleep")
    assert done.returncode == 2 and "there is no part sleep; take of" in done.stderr
    assert run("--small").returncode == 2
