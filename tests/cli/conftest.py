"""A step that does nothing but note what it was given, called as `python -m style_match.train` is."""

import sys
from collections.abc import Callable

import pytest
from omegaconf import DictConfig

from style_match import cli


class Step:
    """Calls `cli.main` with words of a command line.

    Attributes:
        configs: what the step's work was called with, in order.
        code: the exit code of the last call.
        out, err: what it printed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        self.configs: list[DictConfig] = []

    def __call__(self, *words: str, step: str = "train", work: Callable[[DictConfig], object] | None = None) -> int:
        self.configs = []
        self.monkeypatch.setattr(sys, "argv", [step, *words])
        self.capsys.readouterr()

        def run(cfg: DictConfig) -> object:
            self.configs.append(cfg)
            return work(cfg) if work else None

        try:
            cli.main(step, run)
            self.code = 0
        except SystemExit as stop:
            self.code = int(stop.code or 0)
        self.out, self.err = self.capsys.readouterr()
        return self.code


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path) -> Step:
    """Runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return Step(monkeypatch, capsys)
