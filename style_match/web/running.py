"""Which apps are running on this machine, so that `style_match.forget` can name those that show a dataset folder."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from style_match.files import cache_root
from style_match.lock import hold
from style_match.progress import say

FOLDER = "apps"  # in the cache root


@contextmanager
def registered(address: str, data_root: Path) -> Iterator[None]:
    """While inside, `running_apps` lists this process. The operating system ends that with the process, too."""
    path = cache_root() / FOLDER / f"{os.getpid()}.json"
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
    """Address and process of every app that shows this dataset folder; files of processes that ended are removed."""
    found = []
    for path in sorted((cache_root() / FOLDER).glob("*.json")):
        try:
            if (file := hold(path)) is not None:  # nobody holds it: its process ended
                path.unlink(missing_ok=True)
                file.close()
                continue
            about = json.loads(path.read_text(encoding="utf-8"))
            if about["data_root"] == str(data_root.resolve()):
                found.append(f"{about['address']} (process {path.stem})")
        except (OSError, ValueError, KeyError, TypeError):  # it is being written, or is nobody's
            continue
    return found
