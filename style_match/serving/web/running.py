"""Registry of running apps on this machine, so that `style_match.forget` can name those that show a dataset folder.

Apart from `serving.web.server` because `forget` runs without the extra `app` (starlette, uvicorn).
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from style_match.utils.files import cache_root, hold
from style_match.utils.progress import say

FOLDER = "apps"  # in the cache root


@contextmanager
def registered(address: str, data_root: Path) -> Iterator[None]:
    """List this process in `running_apps` until the block is left or the process ends, in whatever way."""
    path = cache_root() / FOLDER / f"{os.getpid()}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = hold(path)
        if file is not None:
            file.truncate(0)
            file.write(json.dumps({"address": address, "data_root": str(data_root.resolve())}))
            file.flush()
    except OSError as error:
        say(f"Cannot write {path}: {error.strerror}. style_match.forget will not name this app.")
        file = None
    try:
        yield
    finally:
        if file is not None:
            path.unlink(missing_ok=True)
            file.close()


def running_apps(data_root: Path) -> list[str]:
    """Return address and process of every app that shows this dataset folder; delete files of ended processes."""
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
        except (OSError, ValueError, KeyError, TypeError):  # being written, or not a file of ours
            continue
    return found
