"""The wheel, installed alone in an environment and run outside the checkout."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOORS = {"console script": ["style-match", "train"], "module": ["python", "-m", "style_match.train"]}
SMALL = ("data.num_couples=60", "trainer.max_epochs=1", "sampler.batch_size=16")


def build(folder: Path, *kinds: str) -> Path:
    command = [sys.executable, "-m", "build", *kinds, "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


class Installation:
    """An environment that holds the wheel; the dependencies are read from where they lie, the checkout is not seen."""

    def __init__(self, wheel: Path, home: Path):
        self.home = home
        venv.create(home / "venv", with_pip=False)
        self.site = next((home / "venv/lib").glob("python*/site-packages"))
        pip = [sys.executable, "-m", "pip", "--python", str(home / "venv"), "install", "--no-deps", "--no-index"]
        subprocess.run([*pip, "--no-compile", str(wheel)], check=True, capture_output=True)
        # paths named by a .pth are searched, but the .pth files in them, such as an editable install's, are not read
        (self.site / "here.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))

    def __call__(self, *command: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        environment |= {"STYLE_MATCH_CACHE": str(self.home / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
        words = [str(self.home / "venv/bin" / command[0]), *command[1:]]
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def files(self) -> dict[str, tuple[int, int]]:
        """Size and time of every file that is installed."""
        found = {path: path.stat() for path in self.site.rglob("*") if path.is_file()}
        return {str(path): (stat.st_size, stat.st_mtime_ns) for path, stat in found.items()}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Installation:
    return Installation(wheel, tmp_path_factory.mktemp("installed"))


def test_the_wheel_carries_configs_and_tiny_backbone(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    for folder, place in (("conf", "style_match/conf"), ("style_match", "style_match")):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert f"{place}/{path.relative_to(ROOT / folder)}" in inside
    assert "style_match/backbone/tiny/model.safetensors" in inside
    assert not [name for name in inside if not name.startswith(("style_match/", "style_match-"))]


def test_the_source_distribution_builds_the_same_wheel(wheel, tmp_path):
    again = build(tmp_path)  # without kinds: the source distribution, and the wheel from that alone
    content = lambda path: {file.filename: file.CRC for file in zipfile.ZipFile(path).infolist()}  # noqa: E731
    assert again.name == wheel.name and content(again) == content(wheel)


@pytest.mark.parametrize("door", DOORS)
def test_it_trains_outside_the_checkout(installed, tmp_path, door):
    before = installed.files()
    installed(*DOORS[door], *SMALL, "hydra.run.dir=run", cwd=tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"run"}, "a run writes into its folder alone"
    assert json.loads((tmp_path / "run/metrics.json").read_text())["trained"]["queries"] == 18
    assert installed.files() == before, "a run writes nothing where the package is installed"


def test_what_runs_is_the_wheels(installed, tmp_path):
    where = "from style_match.cli.targets import conf_dir"
    say = f"import style_match; {where}; print(style_match.__file__, conf_dir(), sep='\\n')"
    package = installed.site / "style_match"
    said = installed("python", "-c", say, cwd=tmp_path).stdout.split("\n")
    assert said[:2] == [str(package / "__init__.py"), str(package / "conf")]
    for inside in ("conf/loss/infonce.yaml", "backbone/tiny/model.safetensors"):
        hidden = (package / inside).with_suffix(".hidden")
        (package / inside).rename(hidden)
        try:
            words = (*SMALL, f"features.root={tmp_path / 'features'}")
            done = installed(*DOORS["module"], *words, cwd=tmp_path, code=1 if inside.startswith("conf") else 2)
        finally:
            hidden.rename(package / inside)
        assert Path(inside).stem in done.stderr or str(package / inside).rpartition("/")[0] in done.stderr


@pytest.mark.parametrize("door", DOORS)
def test_help_and_mistakes_are_answered_outside_the_checkout(installed, tmp_path, door):
    assert "Groups" in installed(*DOORS[door], "--help", cwd=tmp_path).stdout
    assert "Did you mean loss=triplet?" in installed(*DOORS[door], "los=triplet", cwd=tmp_path, code=2).stderr
    assert not list(tmp_path.iterdir())


def test_the_console_script_lists_the_steps(installed, tmp_path):
    said = installed("style-match", "--help", cwd=tmp_path).stdout
    assert "train" in said and said == installed("python", "-m", "style_match", cwd=tmp_path).stdout
