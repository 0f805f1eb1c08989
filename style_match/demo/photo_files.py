"""Files of a demo folder: drawn by several processes, never half written, never of two worlds."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from style_match.spawned import end_with_parent, spawning

from .look import Look
from .render import encode_jpeg, render

DONE, UNFINISHED = "demo.json", "demo.partial.json"
TABLES = ("profiles.csv", "couples.csv", "metadata.jsonl", "taste.csv", "README.txt")
CHUNK = 16


def is_complete(root: Path, spec: dict, names: Iterable[str]) -> bool:
    """Whether `root` is a finished folder of exactly this specification with none of its files gone."""
    return _read(root / DONE) == spec and all((root / name).exists() for name in names)


def begin(root: Path, spec: dict) -> None:
    """Mark `root` as being drawn; photos and tables of another specification are removed first.

    Raises FileExistsError if there are files but no marker of a demo, since they are not ours to remove.
    """
    root.mkdir(parents=True, exist_ok=True)
    markers = [path for name in (DONE, UNFINISHED) if (path := root / name).exists()]
    if not markers and any(root.iterdir()):
        raise FileExistsError(f"{root} has files that are no demo dataset: name an empty folder")
    if any(_read(path) != spec for path in markers):
        shutil.rmtree(root / "images", ignore_errors=True)
        shutil.rmtree(root / "splits", ignore_errors=True)  # of other couples, whose ids come again
        for name in TABLES:
            (root / name).unlink(missing_ok=True)
    replace_file(root / UNFINISHED, (json.dumps(spec, indent=2) + "\n").encode())
    (root / DONE).unlink(missing_ok=True)
    (root / "images").mkdir(exist_ok=True)


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """While inside, no other process draws the same folder; one that waited finds it drawn.

    The lock lies beside the folder, which holds nothing but what is drawn. The operating system lets go of a killed
    process's lock.
    """
    import fcntl

    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.with_name(f".{root.name}.lock"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def draw_missing(
    root: Path, photos: dict[str, Look], size_px: int, num_workers: int, progress: Callable[[int, int], None]
) -> int:
    """Draw the photos (path under `root` -> look) that are not there yet; returns how many.

    Up to one worker draws in this process; more are spawned, so that nothing is inherited from a threaded parent.
    """
    missing = [(root / name, look) for name, look in photos.items() if not (root / name).exists()]
    num_present = len(photos) - len(missing)
    num_done = num_present
    progress(num_done, len(photos))
    chunks = [missing[start : start + CHUNK] for start in range(0, len(missing), CHUNK)]
    if num_workers <= 1 or len(chunks) <= 1:
        for chunk in chunks:
            num_done += _draw(chunk, size_px)
            progress(num_done, len(photos))
        return num_done - num_present
    workers = min(num_workers, len(chunks))
    with spawning() as context, ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent) as pool:
        futures = [pool.submit(_draw, chunk, size_px) for chunk in chunks]
        try:
            for future in as_completed(futures):
                num_done += future.result()
                progress(num_done, len(photos))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return num_done - num_present


def finish(root: Path) -> None:
    """Turn the marker of a folder in the making into that of a finished one."""
    try:
        os.replace(root / UNFINISHED, root / DONE)
    except FileNotFoundError:
        if not (root / DONE).exists():  # else another process drew the same folder and was first
            raise


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _draw(chunk: list[tuple[Path, Look]], size_px: int) -> int:
    for path, look in chunk:
        replace_file(path, encode_jpeg(render(look, size_px)))
    return len(chunk)


def _read(path: Path) -> dict | None:
    """The marker's content, None where it is missing or damaged."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
