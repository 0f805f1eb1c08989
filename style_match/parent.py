"""The end of a process that was started by another one which is killed."""

import os
from multiprocessing import parent_process
from threading import Thread


def end_with_parent() -> None:
    """Have this process end when its parent does, however that ends; by itself it would wait for it for ever."""
    Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
