"""What is installed: dependencies, their bounds and pins."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [requirement for extra in PROJECT["optional-dependencies"].values() for requirement in extra]
OF_BENCH = PROJECT["optional-dependencies"]["bench"]  # has pins of its own
PINNED = {
    ROOT / "constraints.txt": [r for r in [*PROJECT["dependencies"], *EXTRAS] if r not in OF_BENCH],
    ROOT / "experiments" / "benchmarks" / "constraints.txt": [*PROJECT["dependencies"], *EXTRAS],
}


def pins(path: Path) -> dict[str, str]:
    """Canonical name -> version."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {canonical(name): version for name, version in (line.split("==") for line in lines if "==" in line)}


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


@pytest.mark.parametrize("path", PINNED)
def test_every_dependency_is_pinned_for_every_machine(path):
    assert names(PINNED[path]) - {"style-match"} <= pins(path).keys()
    assert not [version for version in pins(path).values() if "+" in version], (
        "a build tag would bind the pins to one machine"
    )
    assert not re.search(r"://|@|--", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", PINNED)
def test_every_pin_is_within_the_bounds(path):
    for requirement in map(Requirement, PINNED[path]):
        if canonical(requirement.name) != "style-match":
            version = pins(path)[canonical(requirement.name)]
            assert requirement.specifier.contains(version, prereleases=True), requirement
            assert any(one.operator == ">=" for one in requirement.specifier), f"{requirement} has no lowest version"
