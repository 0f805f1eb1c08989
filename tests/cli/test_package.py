"""What is installed: dependencies, pins, the wheel."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
PINS = dict(
    line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: list[str]) -> set[str]:
    return {canonical(re.match(r"[A-Za-z0-9_.-]+", requirement).group()) for requirement in requirements}


def imported(file: Path) -> set[str]:
    """Top-level packages that a module imports, at its head or later."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def test_everything_that_is_imported_is_declared():
    owners = metadata.packages_distributions()
    declared = names(PROJECT["dependencies"]) | names(EXTRAS)
    for file in (ROOT / "style_match").rglob("*.py"):
        for package in imported(file) - sys.stdlib_module_names - {"style_match"}:
            mine = {canonical(owner) for owner in owners.get(package, [package])}
            assert mine & declared, f"{file.name} imports {package}"


def test_every_dependency_is_pinned_for_every_machine():
    pinned = {canonical(name) for name in PINS}
    wanted = names(PROJECT["dependencies"]) | names(EXTRAS)
    assert wanted - {"style-match"} <= pinned
    assert not [version for version in PINS.values() if "+" in version], (
        "a build tag would bind the pins to one machine"
    )
    assert not re.search(r"://|@|--", (ROOT / "constraints.txt").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_carries_configs_and_tiny_backbone(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder, place in (("conf", "style_match/conf"), ("style_match", "style_match")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{place}/{path.relative_to(ROOT / folder)}" in inside
    assert "style_match/backbone/tiny/model.safetensors" in inside
    assert not [name for name in inside if not name.startswith(("style_match/", "style_match-"))]


@pytest.mark.slow
def test_an_installed_wheel_runs_outside_the_checkout(wheel, tmp_path):
    place = tmp_path / "venv"
    venv.create(place, with_pip=True)
    scripts = place / "bin"
    install = [scripts / "python", "-m", "pip", "install", "--no-deps", "--no-index", wheel]
    assert subprocess.run(install, capture_output=True).returncode == 0
    # the dependencies are those of this environment, the package is the wheel's
    site = next((place / "lib").glob("python*/site-packages"))
    (site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in ([scripts / "style-match", "train"], [scripts / "python", "-m", "style_match.train"]):
        for words, code, said in ((["--help"], 0, "Groups"), (["los=triplet"], 2, "Did you mean loss=triplet?")):
            done = subprocess.run([*command, *words], cwd=tmp_path, env=environment, capture_output=True, text=True)
            assert done.returncode == code, done.stderr
            assert said in done.stdout + done.stderr
    where = [scripts / "python", "-c", "import style_match.cli as cli; print(cli.conf_dir())"]
    done = subprocess.run(where, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert Path(done.stdout.strip()) == site / "style_match" / "conf"
