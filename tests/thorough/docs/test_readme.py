"""Every command of the documents is run, word for word; what is appended only makes it small."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.docs.documents import COMMANDS, OTHERS, REAL_BACKBONE, ROOT

# appended to a command that trains or scores; a line of its own words still decides everything else
SMALLER = {"train": ["evaluation.num_resamples=100"], "embed": [], "evaluate": ["evaluation.num_resamples=100"]}
SMALLER_TRAINING = ["trainer.max_epochs=1", "head.hidden_dim=16"]
SMALLER_DATA = {"demo_styles": "data.num_photos=300", "demo_couples": "data.num_couples=80"}


def smaller(line: str) -> list[str]:
    """The options that are appended to a step's command."""
    step = re.search(r"style_match\.(\w+)", line).group(1)
    given = dict(word.split("=", 1) for word in line.split() if "=" in word)
    identity = given.get("experiment") == "table2"
    words = list(SMALLER.get(step, []))
    if step == "train":
        words += SMALLER_TRAINING[:1] if identity else SMALLER_TRAINING
    if step not in SMALLER:
        return words
    data = given.get("data", "demo_styles" if given.get("experiment") == "style" else "demo_couples")
    return words + ([SMALLER_DATA[data]] if data in SMALLER_DATA and ("run" not in given or "data" in given) else [])


def recipe(target: str) -> list[str]:
    """The lines that `make` would run for an installed .venv, with `python` for the interpreter in it."""
    plan = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [line.replace(".venv/bin/", "") for line in plan.splitlines() if re.match(r"\.venv/bin/python -m \w+", line)]


def run_folder(shell, task: str) -> Path:
    """The first run of that task that the commands before this one made."""
    for path in sorted(shell.home.glob("runs/train/**/provenance.json")):
        about = path.parent / "metrics.json"
        if about.is_file() and f"task: {task}" in (path.parent / "config.yaml").read_text(encoding="utf-8"):
            return path.parent
    raise AssertionError(f"no earlier command made a run of the task {task}: run the whole file")


def filled(line: str, shell) -> str:
    """The line with this machine's folders for its placeholders."""
    places = {
        "STYLE_RUN": lambda: run_folder(shell, "style"),
        "RUN": lambda: run_folder(shell, "couple"),
        "FOLDER": lambda: shell.draw_folder("FOLDER"),
    }
    return re.sub(r"(?<==)(STYLE_RUN|RUN|FOLDER)\b", lambda found: str(places[found.group()]()), line)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_documents_runs(shell, line):
    if line == "make test":
        assert recipe("test")[-1].split()[:3] == ["python", "-m", "pytest"]
    elif line == "make demo":
        (demo,) = [words for words in recipe("demo") if "style_match" in words]
        assert "synthetic data" in shell(f"{demo} {' '.join(smaller(demo))}")
    elif line.startswith("export "):
        shell.environment |= dict([line.removeprefix("export ").split("=", 1)])
    elif line.endswith("&") or "style_match.app" in line:
        shell.begin(filled(line, shell), until="http://127.0.0.1:")
    elif line not in OTHERS:
        assert re.match(r"python -m style_match\.\w+", line), f"{line}: the test does not know this command"
        if "--help" in line:
            assert "Examples" in shell(line)
        elif REAL_BACKBONE.search(line):
            assert "backbone.path=" in shell(filled(line, shell), code=2)  # no network, and the remedy is named
        else:
            shell(f"{filled(line, shell)} {' '.join(smaller(line))}")
            if re.search(r"style_match\.(train|evaluate)", line):
                found = max(shell.home.glob("runs/**/metrics.json"), key=lambda path: path.stat().st_mtime)
                assert json.loads(found.read_text(encoding="utf-8"))["chance"]
