"""Every command of the documents is run, word for word; what is appended only makes it small."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
# appended to a command that trains or scores; a line of its own words still decides everything else
SMALLER = {"train": ["evaluation.num_resamples=100"], "embed": [], "evaluate": ["evaluation.num_resamples=100"]}
SMALLER_TRAINING = ["trainer.max_epochs=1", "head.hidden_dim=16"]
SMALLER_DATA = {"demo_styles": "data.num_photos=300", "demo_couples": "data.num_couples=80"}
# lines that are not run as they stand, each with what is done in their place; any other line must be a step
OTHERS = {
    ". .venv/bin/activate": "the tests' Python is on the path",
    "make demo": "what make would run in .venv is run",
    "make test": "what make would run in .venv is looked at: these are the tests",
}
REAL_BACKBONE = re.compile(r"backbone=qwen3_vl|experiment=paper")


def commands(document: str) -> list[str]:
    blocks = re.findall(r"^```bash\n(.*?)^```", (ROOT / document).read_text(encoding="utf-8"), re.M | re.S)
    lines = [re.sub(r"\s+#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


COMMANDS = [line for document in DOCUMENTS for line in commands(document)]


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


@pytest.mark.slow
@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_documents_runs(shell, line):
    if line == "make test":
        assert [words.split()[:3] for words in recipe("test")][-2:] == [["python", "-m", "pytest"]] * 2
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


def test_the_documents_have_commands_and_what_is_handled_apart_stands_in_them():
    assert len(COMMANDS) > 10 and set(OTHERS) <= set(COMMANDS)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_make_target_that_is_named_exists(document):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    text = (ROOT / document).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)) <= targets


PAGES = [*(ROOT / name for name in DOCUMENTS), *sorted((ROOT / "experiments").glob("*/README.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_paths_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert not [link for link in links if link and not (page.parent / link).exists()]
    roots = r"conf|style_match|tests|experiments"
    named = [path for path in re.findall(rf"`((?:{roots})/[\w./]+)`", text) if "NAME" not in path]
    assert not [path for path in named if not (ROOT / path).exists()]
