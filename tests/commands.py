"""Steps as a user types them: in this process, which is what most tests need, or in a process of their own."""

import contextlib
import importlib
import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

# Small enough to train in about a second: 28 training couples, and 6 in each of the other splits.
SMALL_HEAD = ("head.hidden_dim=32", "head.dim=16")
QUICK = ("evaluation.num_resamples=100", "picture.report.num_queries=2")
SMALL_COUPLES = ("data.num_couples=40", "sampler.batch_size=8", "trainer.max_epochs=2", *SMALL_HEAD, *QUICK)
SMALL_STYLES = ("data=demo_styles", "data.num_photos=60", "loss=infonce", "sampler.num_samples=2")
SMALL_STYLES = (*SMALL_STYLES, "trainer.max_epochs=2", *SMALL_HEAD, *QUICK)

Done = subprocess.CompletedProcess[str]
HEAVY = ("torch", "lightning", "pytorch_lightning", "transformers", "torchmetrics", "pytorch_metric_learning")


def run_in_process(name: str, words: Sequence[str], *, cwd: Path, environment: dict[str, str] | None = None) -> Done:
    """Call a step as `python -m style_match.NAME WORDS...` does, without a new process.

    Whatever the step sets for its process (folder, environment, log handlers, torch's switches) is set back.
    """
    out, err = io.StringIO(), io.StringIO()
    before = Path.cwd(), dict(os.environ), sys.argv
    loggers = {
        log: (log.handlers[:], log.level, log.propagate) for log in map(logging.getLogger, (None, "style_match"))
    }
    deterministic = torch.are_deterministic_algorithms_enabled()
    code: object = 0
    try:
        os.chdir(cwd)
        os.environ.update(environment or {})
        sys.argv = [name, *map(str, words)]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                module = importlib.import_module(f"style_match.{name}")
                importlib.import_module("style_match.cli.main").main(name, module.run)
            except SystemExit as stop:
                code = stop.code
    finally:
        os.chdir(before[0])
        os.environ.clear()
        os.environ.update(before[1])
        sys.argv = before[2]
        for log, (handlers, level, propagate) in loggers.items():
            log.handlers[:], log.level, log.propagate = handlers, level, propagate
        if torch.are_deterministic_algorithms_enabled() != deterministic:
            torch.use_deterministic_algorithms(deterministic)
    code = code if isinstance(code, int) else 0 if code is None else 1
    return Done([name, *map(str, words)], code, out.getvalue(), err.getvalue())


def run_process(
    name: str,
    words: Sequence[str],
    *,
    cwd: Path,
    environment: dict[str, str] | None = None,
    launcher: Sequence[str] = (),
) -> Done:
    """Run a step in a new process.

    Args:
        launcher: arguments of Python before the step, such as `-m torch.distributed.run` with its options.
    """
    return subprocess.run(
        [sys.executable, *launcher, "-m", f"style_match.{name}", *map(str, words)],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )


@contextlib.contextmanager
def unimportable(*packages: str) -> Iterator[None]:
    """Make these packages unimportable and forget `style_match`, so that every import of its modules is checked."""
    names = {"style_match", *packages}
    held = {name: module for name, module in sys.modules.items() if name.split(".")[0] in names}
    for name in held:
        del sys.modules[name]
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] in names]:
            del sys.modules[name]
        sys.modules.update(held)
