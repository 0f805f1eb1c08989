"""What `make demo` prints is what the README says it prints."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[2] / "README.md"
NUMBER = r"[+-]?\d+\.\d"


@pytest.mark.thorough
@pytest.mark.slow
def test_the_demo_ends_with_the_table_of_the_readme(run_step, tmp_path: Path):
    block = README.read_text(encoding="utf-8").partition("<!-- begin demo -->\n```\n")[2].partition("```")[0]
    told = block.split()
    done = run_step("train", f"hydra.run.dir={tmp_path}")
    printed = done.stdout[done.stdout.index(told[0]) :].split()[: len(told)]
    assert re.sub(NUMBER, "N", " ".join(printed)) == re.sub(NUMBER, "N", " ".join(told))
    values = [list(map(float, re.findall(NUMBER, " ".join(words)))) for words in (printed, told)]
    assert len(values[1]) > 40
    assert values[0] == pytest.approx(values[1], abs=1.01)  # one query of 150 on another CPU, and its interval
    with_value = {line.split()[0]: line.split()[1:] for line in block.splitlines() if line[:6] in ("chance", "frozen")}
    for label, row in with_value.items():  # without a training
        (line,) = re.findall(rf"^{label} .*$", done.stdout, re.M)
        assert line.split()[1:] == row
