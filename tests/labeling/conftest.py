"""A folder of photos, recorded answers, and the step in this process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from style_match import label
from style_match.cli import main
from style_match.utils.errors import UserError
from tests.composed import running
from tests.labeling.makers import picture, style_values


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six photos: a.jpg to e.jpg and deep/f.jpg."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for seed, name in enumerate(("a", "b", "c", "d", "e", "deep/f")):
        (folder / f"{name}.jpg").write_bytes(picture(seed))
    return folder


@pytest.fixture
def answers(tmp_path: Path) -> Callable[..., Path]:
    """`answers("a", "b", name="x.jsonl")` writes a metadata.jsonl for a.jpg and b.jpg; one may be (name, values)."""

    def write(*names, name: str = "recorded.jsonl") -> Path:
        lines = []
        for number, one in enumerate(names):
            image, values = one if isinstance(one, tuple) else (one, style_values(number))
            lines.append(json.dumps({"image": f"{image}.jpg", **values}, ensure_ascii=False) + "\n")
        (tmp_path / name).write_text("".join(lines), encoding="utf-8")
        return tmp_path / name

    return write


class Command:
    """The step; `out` and `err` are what it printed last."""

    def __init__(self, call: Callable[[list[str]], None], capsys: pytest.CaptureFixture):
        self.call, self.capsys = call, capsys

    def __call__(self, *words: object, code: int = 0) -> str:
        self.capsys.readouterr()
        try:
            self.call(list(map(str, words)))
            ended = 0
        except SystemExit as stop:
            ended = int(stop.code or 0)
        self.out, self.err = self.capsys.readouterr()
        assert ended == code, self.out + self.err
        assert "Traceback" not in self.err
        return self.err if code else self.out


def run_label(words: list[str]) -> None:
    """Runs the step without the command line, which would take most of the time; its mistakes end it as there."""
    try:
        with running("label", *words) as config:
            label.run(config)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def type_label(words: list[str]) -> None:
    sys.argv = ["label", *words]
    main.main("label", label.run)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> Command:
    """`command(*words)` runs the step with the config of these words."""
    monkeypatch.chdir(tmp_path)
    return Command(run_label, capsys)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> Command:
    """`typed(*words)` runs the step from its command line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [])
    return Command(type_label, capsys)
