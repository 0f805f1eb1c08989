"""The list of running apps, in which `style_match.forget` finds those that show a dataset folder."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from style_match.utils.files import cache_root, hold
from style_match.utils.progress import say

APPS = "apps"  # folder of the cache with a file for each running app


@contextmanager
def registered(address: str, data_root: Path) -> Iterator[None]:
    """List this process in `running_apps` within the context; a killed process is no longer listed."""
    path = cache_root() / APPS / f"{os.getpid()}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = hold(path)
        if file is not None:
            file.truncate(0)
            file.write(json.dumps({"address": address, "data_root": str(data_root.resolve())}))
            file.flush()
    except OSError as error:
        say(f"{path} cannot be written ({error.strerror}): style_match.forget will not name this app")
        file = None
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)
            file.close()


def running_apps(data_root: Path) -> list[str]:
    """Return address and process of every app that shows a dataset folder; remove files of ended processes."""
    found = []
    for path in sorted((cache_root() / APPS).glob("*.json")):
        try:
            if (file := hold(path)) is not None:  # its process ended
                path.unlink(missing_ok=True)
                file.close()
                continue
            about = json.loads(path.read_text(encoding="utf-8"))
            if about["data_root"] == str(data_root.resolve()):
                found.append(f"{about['address']} (process {path.stem})")
        except (OSError, ValueError, KeyError, TypeError):  # it is being written, or is damaged
            continue
    return found
