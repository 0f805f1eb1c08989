"""A folder of photos, recorded answers, and the command in this process."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from style_match import cli, label
from tests.labeler.makers import picture, style_values


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
    """The step, called as on a command line; `out` and `err` are what it printed last."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *words: str, code: int = 0) -> str:
        self.monkeypatch.setattr(sys, "argv", ["label", *map(str, words)])
        self.capsys.readouterr()
        try:
            cli.main("label", label.run)
            ended = 0
        except SystemExit as stop:
            ended = int(stop.code or 0)
        self.out, self.err = self.capsys.readouterr()
        assert ended == code, self.out + self.err
        assert "Traceback" not in self.err
        return self.err if code else self.out


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> Command:
    monkeypatch.chdir(tmp_path)
    return Command(monkeypatch, capsys)
