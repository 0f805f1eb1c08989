"""Write a prepared dataset folder: built and checked in a folder inside it, then moved into place file by file."""

import filecmp
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from style_match.curation.candidates import PHOTOS, Candidate
from style_match.data.fingerprints import Fingerprints
from style_match.utils.errors import UserError
from style_match.utils.files import hold, write_whole
from style_match.utils.progress import bar

RECORD, STAGING = "prepared.json", ".partial"
# all files that `prepare` writes, in the order in which they are moved into place
_WRITTEN = (
    *(f"{PHOTOS}/*", "splits/*.csv", "classes.json", "metadata.jsonl"),
    *("rejected.csv", "couples.csv", "profiles.csv", RECORD),
)
_REMEDY = "Free some space, or choose another out, and run the same command again."


class OutputFolder:
    """The folder `out`: new, empty, or an earlier preparation from the same source with the same options.

    Raises:
        UserError: it has other content, overlaps with the source, or cannot be created.
    """

    def __init__(self, path: Path, source: Path):
        self.path, self.staging, self.is_changed = path, path / STAGING, False
        inside, outer = path.resolve(), source.resolve()
        if inside.is_relative_to(outer) or outer.is_relative_to(inside):
            raise UserError(f"out={path} overlaps with the source; choose a folder outside {source}")
        if path.exists() and not path.is_dir():
            raise UserError(f"out={path} is a file; give a folder")
        names = {each.name for each in path.iterdir()} if path.is_dir() else set()
        self.is_update = RECORD in names
        if not self.is_update and STAGING not in names and (others := names - {".lock"}):
            raise UserError(f"out={path} has other content ({min(others)}); choose an empty or a new folder")

    def check_identity(self, identity: Mapping[str, Any]) -> None:
        """Raise UserError if the folder was prepared from another source or with other options."""
        if not self.is_update:
            return
        path = self.path / RECORD
        try:
            before = json.loads(path.read_text(encoding="utf-8"))["identity"]
            changed = [key for key in sorted({*before, *identity}) if before.get(key) != identity.get(key)]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"Cannot read {path} ({error}). Restore it, or choose another out.") from None
        if changed:
            was, now = ({key: each.get(key) for key in changed} for each in (before, identity))
            raise UserError(
                f"out={self.path} was prepared with {json.dumps(was)}, now {json.dumps(now)}. Choose another out, or "
                "use the same options to update it."
            )

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """Yield an empty folder for the new content, with the stored splits of an earlier preparation.

        The content is moved into place when the block ends, and removed if it fails; `is_changed` then says whether
        anything in `out` changed. Meanwhile no other process writes to `out`.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = hold(self.path / ".lock")
        except OSError as error:
            raise UserError(f"Cannot write to out={self.path} ({error.strerror}). Choose another folder.") from error
        if lock is None:
            raise UserError(f"out={self.path}: another process is writing there; wait until it has finished")
        with lock:
            if self.staging.exists() and not self.is_update:  # a killed first run may have moved some files already
                for name in _files_in(self.path):
                    (self.path / name).unlink()
            shutil.rmtree(self.staging, ignore_errors=True)
            (self.staging / PHOTOS).mkdir(parents=True)
            if (self.path / "splits").is_dir():
                shutil.copytree(self.path / "splits", self.staging / "splits")
            try:
                yield self.staging
            except BaseException as error:
                shutil.rmtree(self.staging)
                if isinstance(error, UserError):
                    raise UserError(str(error).replace(str(self.staging), str(self.path))) from None
                raise
            self._publish()

    def write(self, name: str, content: str) -> None:
        """Write a file of the new content; an empty one does not exist."""
        if content:
            write_whole(self.staging / name, content, remedy=_REMEDY)

    def add_photos(
        self, candidates: Sequence[Candidate], fingerprints: Fingerprints, *, link: bool, show: bool
    ) -> None:
        """Copy (or hard-link) photos to their names; those already in `out` are linked from there.

        Raises:
            UserError: a photo cannot be read or linked, or the disk is full.
        """
        with bar("writing photos", "photos", show=show) as advance:
            for done, each in enumerate(candidates, start=1):
                self._add_photo(each, fingerprints, link=link)
                advance(done, len(candidates))

    def _add_photo(self, each: Candidate, fingerprints: Fingerprints, *, link: bool) -> None:
        photo, before, path = each.photo, self.path / each.image, self.staging / each.image
        if before.exists() and fingerprints.sha256(before) == each.facts.sha256:
            with suppress(OSError):  # a file system without hard links
                os.link(before, path)
                return
        try:
            if link and photo.path is not None:
                os.link(os.path.realpath(photo.path), path)
                return
            content = photo.content()
        except OSError as error:
            what = "cannot be linked; set photos=copy" if link else "cannot be read"
            raise UserError(f"{photo.place}: {photo.image} {what} ({error.strerror})") from error
        write_whole(path, content, remedy=_REMEDY)

    def _publish(self) -> None:
        """Move the new content into place; the record comes last, so that a killed first run looks unfinished."""
        names = dict.fromkeys([*_files_in(self.staging), *_files_in(self.path)])
        for name in sorted(names, key=lambda name: name == RECORD):
            new, old = self.staging / name, self.path / name
            if not new.exists():
                old.unlink()
            elif old.exists() and (new.samefile(old) or filecmp.cmp(new, old, shallow=False)):
                continue
            else:
                old.parent.mkdir(exist_ok=True)
                os.replace(new, old)
            self.is_changed = True
        shutil.rmtree(self.staging)


def _files_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for pattern in _WRITTEN for path in sorted(folder.glob(pattern))]
