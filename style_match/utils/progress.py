"""Progress of long work: what, how far, how fast, how long still.

On a terminal a bar is drawn; in a log file a line is written every `LOG_EVERY_S` seconds and at the end. Everything
goes to stderr, so that a step's tables can be piped.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from style_match.utils.secrets import hide

LOG_EVERY_S = 15.0
SHORT_S = 1.0  # work done sooner leaves no line

Advance = Callable[[int, int], None]

log = logging.getLogger(__name__)


def say(line: str) -> None:
    """Print one line of information to stderr, and log it: steps with a run folder have a log file there."""
    line = hide(line)
    print(line, file=sys.stderr, flush=True)
    log.info("%s", line)


@contextmanager
def bar(what: str, unit: str, *, show: bool = True) -> Iterator[Advance]:
    """Yield `advance(done, total)`; the bar appears with the first call that has work left.

    Args:
        what: what is being done, such as "embedding".
        unit: what is counted, such as "photos"; the rate is shown in units per second.
        show: False makes it silent.
    """
    if not show:
        yield lambda done, total: None
    elif sys.stderr.isatty():
        with _terminal_bar(what, unit) as advance:
            yield advance
    else:
        yield _log_lines(what, unit)


@contextmanager
def _terminal_bar(what: str, unit: str) -> Iterator[Advance]:
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.MofNCompleteColumn(),
        rich.TextColumn("{task.fields[rate]}"),
        rich.TimeElapsedColumn(),
        rich.TextColumn("left"),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True)) as progress:
        tasks: list[rich.TaskID] = []
        began, first = time.monotonic(), 0

        def advance(done: int, total: int) -> None:
            nonlocal first
            if not tasks and done < total:
                tasks.append(progress.add_task(what, rate=""))
                first = done
            rate = f"{(done - first) / max(time.monotonic() - began, 1e-9):.0f} {unit}/s" if done > first else ""
            for task in tasks:
                progress.update(task, completed=done, total=total, rate=rate)

        yield advance


def _log_lines(what: str, unit: str) -> Advance:
    began = last = time.monotonic()
    first: int | None = None

    def advance(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = done if first is None else first
        is_over = done >= total and now - began >= SHORT_S
        if done > first and (now - last >= LOG_EVERY_S or is_over):
            last = now
            rate = (done - first) / max(now - began, 1e-9)
            left = f", {(total - done) / rate:.0f} s left" if done < total else f" in {now - began:.1f} s"
            say(f"{what}: {done} of {total} {unit}, {rate:.0f} {unit}/s{left}")

    return advance
