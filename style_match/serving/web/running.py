"""The list of running apps, in which `style_match.forget` finds those that show a dataset folder."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from style_match.utils.files import cache_root, hold

APPS = "apps"  # folder of the cache with a file for each running app


@contextmanager
def registered(address: str, data_root: Path) -> Iterator[None]:
    """List this process in `running_apps` within the context; a killed process is no longer listed."""
    path = cache_root() / APPS / f"{os.getpid()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    file = hold(path, wait=True)
    assert file is not None
    with file:
        file.truncate(0)
        file.write(json.dumps({"address": address, "data_root": str(data_root.resolve())}))
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def running_apps(data_root: Path) -> list[str]:
    """Return address and process of every app that shows a dataset folder; remove files of ended processes."""
    found = []
    for path in sorted((cache_root() / APPS).glob("*.json")):
        if (file := hold(path)) is not None:  # its process ended
            path.unlink(missing_ok=True)
            file.close()
            continue
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # the app is starting or ending
            continue
        if about["data_root"] == str(data_root.resolve()):
            found.append(f"{about['address']} (process {path.stem})")
    return found
