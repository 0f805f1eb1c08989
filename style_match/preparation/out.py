"""The folder that is prepared: whose it is, and files that are written whole."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from style_match.data.fingerprint import Fingerprints
from style_match.errors import UserError
from style_match.files import remove_unfinished, write_whole
from style_match.lock import hold
from style_match.preparation.inspection import Facts
from style_match.preparation.source import SourcePhoto

DONE, UNFINISHED, PHOTOS = "prepared.json", "prepared.partial.json", "photos"
TABLES = ("profiles.csv", "couples.csv", "metadata.jsonl", "classes.json", "rejected.csv")
REMEDY = "Free some space, or choose another out; the same command goes on where it stopped."


class OutFolder:
    """`out`: empty, or an earlier preparation of the same source with the same options.

    Raises:
        UserError: it holds something else, lies in the source, or cannot be made.
    """

    def __init__(self, path: Path, source: Path):
        self.path = path
        inside, outer = Path(os.path.realpath(path)), Path(os.path.realpath(source))
        if inside == outer or inside.is_relative_to(outer) or outer.is_relative_to(inside):
            raise UserError(f"out={path}: lies in the source, or the source in it; give a folder outside of {source}")
        if path.exists() and not path.is_dir():
            raise UserError(f"out={path}: is a file; give a folder")
        there = [each.name for each in path.iterdir()] if path.is_dir() else []
        others = [name for name in there if name != ".lock" and not name.endswith(".tmp")]
        if others and not {DONE, UNFINISHED} & {*others}:
            raise UserError(
                f"out={path}: is not empty ({sorted(others)[0]} is there) and was not made by this step; give an empty "
                "or a new folder"
            )

    @property
    def is_update(self) -> bool:
        return (self.path / DONE).exists()

    def is_begun_otherwise(self, identity: Mapping[str, Any]) -> bool:
        """Whether it was begun, and never finished, with other options: then it is begun anew.

        Raises:
            UserError: it was prepared, or begun, from another source, or was prepared with other options.
        """
        begun = False
        for name in (DONE, UNFINISHED):
            try:
                was = json.loads((self.path / name).read_text(encoding="utf-8"))["identity"]
                differing = [
                    f"{key} was {_written(was.get(key))}, now {_written(identity.get(key))}"
                    for key in sorted({*was, *identity})
                    if was.get(key) != identity.get(key)
                ]
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise UserError(
                    f"{self.path / name} cannot be read ({error}); restore it or give another out"
                ) from None
            if differing and (self.is_update or was.get("source") != identity.get("source")):
                raise UserError(
                    f"out={self.path}: was prepared otherwise: {'; '.join(differing)}. Give another out, or the same "
                    "words as then to bring it up to date."
                )
            begun = bool(differing)
        return begun

    def clear(self) -> None:
        """Removes the tables and splits of a preparation that was never finished; its photos are gone over later."""
        for path in [self.path / name for name in TABLES] + [*(self.path / "splits").glob("*.csv")]:
            path.unlink(missing_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While inside, no other process writes it; the operating system lets go of a killed one's lock."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = hold(self.path / ".lock")
        except OSError as error:
            raise UserError(f"out={self.path}: cannot be written ({error.strerror}); give another folder") from error
        if lock is None:
            raise UserError(f"out={self.path}: another process is writing it; wait for it")
        with lock:
            for folder in (self.path, self.path / PHOTOS):
                remove_unfinished(folder)  # of a killed process
            yield

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Notes whose it is, before anything else is written."""
        self.write(UNFINISHED, as_json({"identity": identity}))
        (self.path / PHOTOS).mkdir(exist_ok=True)

    def finish(self, record: Mapping[str, Any]) -> None:
        self.write(DONE, as_json(record))
        (self.path / UNFINISHED).unlink(missing_ok=True)

    def write(self, name: str, content: str | bytes) -> None:
        write_whole(self.path / name, content, remedy=REMEDY)

    def write_or_remove(self, name: str, content: str) -> None:
        """`write`; a file without content is not there."""
        if content:
            self.write(name, content)
        else:
            (self.path / name).unlink(missing_ok=True)

    def digest(self) -> str:
        """Of the tables, splits and names of photos: whether a run changed anything."""
        digest = hashlib.sha256()
        for path in sorted(each for each in self.path.rglob("*") if each.is_file() and not each.name.startswith(".")):
            name = path.relative_to(self.path).as_posix()
            if name in (UNFINISHED, "prepared.html"):
                continue
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
            if not name.startswith(f"{PHOTOS}/"):
                digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()

    def write_photos(
        self,
        photos: Sequence[tuple[SourcePhoto, Facts, str]],
        *,
        link: bool,
        fingerprints: Fingerprints,
        progress: Callable[[int, int], object],
    ) -> int:
        """Copies (or links) photos to their names unless they are there; returns how many were written.

        Raises:
            UserError: a photo was changed since it was looked at, the disk is full, links cannot be made there.
        """
        written = 0
        for done, (photo, facts, name) in enumerate(photos, start=1):
            path = self.path / name
            if not path.exists() or fingerprints.sha256(path) != facts.sha256:
                if link and photo.path is not None:
                    self._link(photo.path, path)
                else:
                    self._copy(photo, facts, path)
                written += 1
            progress(done, len(photos))
        return written

    def _copy(self, photo: SourcePhoto, facts: Facts, path: Path) -> None:
        try:
            content = photo.content()
        except OSError as error:
            raise UserError(f"{photo.place}: {photo.image} cannot be read ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != facts.sha256:
            raise UserError(f"{photo.place}: {photo.image} was changed meanwhile; run again, when nothing writes to it")
        write_whole(path, content, remedy=REMEDY)

    @staticmethod
    def _link(source: Path, path: Path) -> None:
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            os.link(os.path.realpath(source), beside)
            os.replace(beside, path)
        except OSError as error:
            raise UserError(
                f"photos=link: cannot link {path} to {source} ({error.strerror}); use photos=copy"
            ) from error

    def remove_photos(self, keep: Iterable[str]) -> int:
        """Removes photos that no row names any more; returns how many."""
        kept = set(keep)
        gone = [path for path in (self.path / PHOTOS).iterdir() if f"{PHOTOS}/{path.name}" not in kept]
        for path in gone:
            path.unlink()
        return len(gone)


def as_json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _written(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
