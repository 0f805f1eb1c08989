"""What is installed: dependencies, their bounds and pins."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

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


def test_every_pin_is_within_the_bounds():
    pins = {canonical(name): version for name, version in PINS.items()}
    for requirement in map(Requirement, [*PROJECT["dependencies"], *EXTRAS]):
        if canonical(requirement.name) != "style-match":
            assert requirement.specifier.contains(pins[canonical(requirement.name)], prereleases=True), requirement
            assert any(one.operator == ">=" for one in requirement.specifier), f"{requirement} has no lowest version"
