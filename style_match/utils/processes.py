"""Processes that inherit nothing from the one that starts them, and end with it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, get_start_method, parent_process, set_start_method
from multiprocessing.context import SpawnContext
from threading import Thread


@contextmanager
def spawning() -> Iterator[SpawnContext]:
    """The context in which processes are to be started.

    They are told how this process starts others by default. A worker of joblib has a way of its own, which they do not
    know, so that they would not even begin.
    """
    before = get_start_method(allow_none=True)
    set_start_method("spawn", force=True)
    try:
        yield get_context("spawn")
    finally:
        set_start_method(before, force=True)


def end_with_parent() -> None:
    """Have this process end when its parent does, however that ends; by itself it would wait for it for ever."""
    Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
