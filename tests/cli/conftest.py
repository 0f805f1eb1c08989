"""A step that does nothing but note what it was given, called as `python -m style_match.train` is."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from style_match.cli import main

# a step of few groups: Hydra composes it in a third of the time that style_match.train takes
SMALL_CONF = """
defaults:
  - _self_
  - pooling: mean
  - loss: infonce
  - override hydra/output: runs
  - override hydra/job_logging: plain
  - override hydra/hydra_logging: plain
seed: 0
head: {{_target_: style_match.models.head.mlp.MLP, dim: 8}}
split: {{folds: null, fold: null}}
run: null
ckpt_path: null
debug: false
hydra:
  output_subdir: null
  job: {{name: {step}}}
  help: {{header: A step, footer: Examples}}
"""


class Step:
    """Calls `cli.main` with words of a command line.

    Attributes:
        configs: what the step's work was called with, in order.
        code: the exit code of the last call.
        out, err: what it printed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, conf: Path | None = None):
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        self.before = ["--config-path", str(conf)] if conf else []
        self.configs: list[DictConfig] = []

    def __call__(self, *words: str, step: str = "train", work: Callable[[DictConfig], object] | None = None) -> int:
        self.configs = []
        self.monkeypatch.setattr(sys, "argv", [step, *self.before, *words])
        self.capsys.readouterr()

        def run(cfg: DictConfig) -> object:
            self.configs.append(cfg)
            return work(cfg) if work else None

        try:
            main.main(step, run)
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


@pytest.fixture(scope="session")
def small_conf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Configs of `train` and `evaluate` with few groups; how runs and sweeps go is configured as it is for users."""
    folder = tmp_path_factory.mktemp("small_conf")
    for group in ("hydra", "pooling", "loss"):
        (folder / group).symlink_to(main.conf_dir() / group, target_is_directory=True)
    for step in ("train", "evaluate"):
        (folder / f"{step}.yaml").write_text(SMALL_CONF.format(step=step), encoding="utf-8")
    return folder


@pytest.fixture
def quick(step: Step, small_conf: Path) -> Step:
    """As `step`, with the configs of `small_conf`: for how runs and sweeps go, whatever their options are."""
    return Step(step.monkeypatch, step.capsys, small_conf)
