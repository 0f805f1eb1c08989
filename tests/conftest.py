"""Every test runs on one thread, offline, with one cache for all workers of a test run.

Tests are in three tiers: unit tests (the default), `integration` and `smoke`, which `make test` runs too, and
`thorough`, which `make test-all` adds. A folder of a tier's name marks everything in it.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["WANDB_MODE"] = "offline"
os.environ.pop("WANDB_API_KEY", None)

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from tests.commands import SMALL_COUPLES, SMALL_STYLES, Done, run_in_process, run_process

TIERS = ("integration", "smoke", "thorough")
SLOW_S = 5.0  # a test of a lower tier that takes longer is named at the end, unless it is marked `slow`

settings.register_profile(
    "fast", max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "thorough", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(tests).parts[0]
        if folder in TIERS:
            item.add_marker(folder)


def pytest_terminal_summary(terminalreporter) -> None:
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    slow = [each for each in reports if each.when == "call" and each.duration > SLOW_S]
    unmarked = [each for each in slow if not {"slow", "thorough"} & set(each.keywords)]
    for report in unmarked:
        terminalreporter.write_line(
            f"{report.nodeid} took {report.duration:.1f} s: make it faster, or mark it `slow` or `thorough`",
            yellow=True,
        )


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(shared: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once("name", make)` is a folder that `make(folder)` filled, once for all workers."""

    def get(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return get


@pytest.fixture(scope="session", autouse=True)
def cache(shared: Path) -> Iterator[Path]:
    """The cache root of all workers (drawn figures, features, remembered hashes)."""
    root = shared / "cache"
    os.environ["STYLE_MATCH_CACHE"] = str(root)
    yield root


@pytest.fixture(scope="session")
def run_step(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """`run_step("train", *words)` calls a step in this process, in a folder of the tests."""
    home = tmp_path_factory.mktemp("steps")

    def run(name: str, *words: object, code: int = 0, cwd: Path = home, **environment: str) -> Done:
        done = run_in_process(name, list(map(str, words)), cwd=cwd, environment=environment)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def run_command(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Done]:
    """`run_command("train", *words)` runs a step in a process of its own, for what only a process can show."""
    home = tmp_path_factory.mktemp("commands")

    def run(
        name: str, *words: object, code: int = 0, cwd: Path = home, launcher: tuple[str, ...] = (), **environment: str
    ) -> Done:
        done = run_process(name, list(map(str, words)), cwd=cwd, environment=environment, launcher=launcher)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def couples_run(once, run_step) -> Path:
    """A finished run of 40 drawn couples; do not write into it."""
    return once("couples_run", lambda folder: run_step("train", *SMALL_COUPLES, f"hydra.run.dir={folder}"))


@pytest.fixture(scope="session")
def styles_run(once, run_step) -> Path:
    """A finished run of 60 drawn photos with style classes; do not write into it."""
    return once("styles_run", lambda folder: run_step("train", *SMALL_STYLES, f"hydra.run.dir={folder}"))


@pytest.fixture(scope="session")
def matcher_folder(once, run_step, couples_run: Path) -> Path:
    """The exported matcher of `couples_run`; do not write into it."""
    return once("matcher", lambda folder: run_step("export", f"run={couples_run}", f"out={folder}"))
