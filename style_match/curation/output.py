"""Write a prepared dataset folder: built and checked in a folder inside it, then moved into place file by file."""

import filecmp
import hashlib
import json
import os
import re
import shutil
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from style_match.curation.filters import Candidate
from style_match.data.fingerprints import Fingerprints
from style_match.utils.errors import UserError
from style_match.utils.files import hold, write_whole
from style_match.utils.progress import bar

RECORD, PHOTOS, STORED_SPLITS, STAGING = "prepared.json", "photos", "splits", ".partial"
TABLES = ("classes.json", "metadata.jsonl", "rejected.csv", "couples.csv", "profiles.csv")  # in the order of writing
REMEDY = "Free some space, or choose another out, and run the same command again."


class OutputFolder:
    """The folder `out`: new, empty, or an earlier preparation from the same source with the same options.

    Raises:
        UserError: it has other content, overlaps with the source, or cannot be created.
    """

    def __init__(self, path: Path, source: Path):
        self.path, self.staging, self.is_changed = path, path / STAGING, False
        inside, outer = Path(os.path.realpath(path)), Path(os.path.realpath(source))
        if inside.is_relative_to(outer) or outer.is_relative_to(inside):
            raise UserError(f"out={path} overlaps with the source; choose a folder outside {source}")
        if path.exists() and not path.is_dir():
            raise UserError(f"out={path} is a file; give a folder")
        names = {each.name for each in path.iterdir()} if path.is_dir() else set()
        self.is_update = RECORD in names
        if not self.is_update and self.staging.name not in names and (others := names - {".lock"}):
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
                for name in (PHOTOS, STORED_SPLITS):
                    shutil.rmtree(self.path / name, ignore_errors=True)
                for name in TABLES:
                    (self.path / name).unlink(missing_ok=True)
            shutil.rmtree(self.staging, ignore_errors=True)
            (self.staging / PHOTOS).mkdir(parents=True)
            if (self.path / STORED_SPLITS).is_dir():
                shutil.copytree(self.path / STORED_SPLITS, self.staging / STORED_SPLITS)
            try:
                yield self.staging
            except UserError as error:
                shutil.rmtree(self.staging)
                raise UserError(str(error).replace(str(self.staging), str(self.path))) from None
            except BaseException:
                shutil.rmtree(self.staging)
                raise
            self._publish()

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of the new content; an empty one does not exist."""
        if content:
            write_whole(self.staging / name, content, remedy=REMEDY)

    def add_photos(
        self, candidates: Sequence[Candidate], fingerprints: Fingerprints, *, link: bool, show: bool
    ) -> None:
        """Copy (or hard-link) photos to their names; those already in `out` are linked from there.

        Raises:
            UserError: a photo has changed since it was inspected, the disk is full, or links are not possible.
        """
        with bar("writing photos", "photos", show=show) as advance:
            for done, each in enumerate(candidates, start=1):
                before, path = self.path / each.image, self.staging / each.image
                if before.exists() and fingerprints.sha256(before) == each.facts.sha256:
                    try:
                        os.link(before, path)
                    except OSError:  # a file system without hard links
                        shutil.copy2(before, path)
                else:
                    self._add_photo(each, path, link=link)
                advance(done, len(candidates))

    def _add_photo(self, each: Candidate, path: Path, *, link: bool) -> None:
        photo = each.photo
        try:
            if link and photo.path is not None:
                os.link(os.path.realpath(photo.path), path)
                return
            content = photo.content()
        except OSError as error:
            what = "cannot be linked; set photos=copy" if link else "cannot be read"
            raise UserError(f"{photo.place}: {photo.image} {what} ({error.strerror})") from error
        if hashlib.sha256(content).hexdigest() != each.facts.sha256:
            raise UserError(f"{photo.place}: {photo.image} has changed meanwhile; run again")
        self.write(each.image, content)

    def _publish(self) -> None:
        """Move the new content into place: photos first, the record last, so that a killed run looks unfinished."""
        photos = sorted(path.name for path in (self.staging / PHOTOS).iterdir())
        names = [f"{PHOTOS}/{name}" for name in photos]
        names += sorted(f"{STORED_SPLITS}/{path.name}" for path in self.staging.glob(f"{STORED_SPLITS}/*.csv"))
        for name in (*names, *TABLES):
            self._move(name)
        for name in {path.name for path in (self.path / PHOTOS).iterdir()} - {*photos}:
            self.is_changed = True
            (self.path / PHOTOS / name).unlink()
        self._move(RECORD)
        shutil.rmtree(self.staging)

    def _move(self, name: str) -> None:
        """Replace a file by its new version unless the two are equal; remove it if there is no new version."""
        new, old = self.staging / name, self.path / name
        if new.exists() and old.exists() and (new.samefile(old) or filecmp.cmp(new, old, shallow=False)):
            return
        if new.exists():
            old.parent.mkdir(exist_ok=True)
            os.replace(new, old)
            self.is_changed = True
        elif old.exists():
            old.unlink()
            self.is_changed = True


# Photo names made from profile ids: valid on every file system, the same for the same ids.


_MAX_BYTES = 120  # file systems allow 255; a suffix and a number follow
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # on Windows


def file_stems(profile_ids: Sequence[str]) -> list[str]:
    """Return one stem per photo: its profile id, followed by +2, +3, ... for further photos of a profile.

    An id that is no valid name, or differs from another one in case only, is changed and followed by its hash.
    """
    plain = {each: _plain_name(each) for each in dict.fromkeys(profile_ids)}
    shared = Counter(_folded(stem) for stem in plain.values())
    stem_of = {
        each: stem if stem == each and shared[_folded(stem)] == 1 else f"{stem}-{_hash(each)}"
        for each, stem in plain.items()
    }
    count: Counter[str] = Counter()
    stems = []
    for each in profile_ids:
        count[each] += 1
        stems.append(stem_of[each] + (f"+{count[each]}" if count[each] > 1 else ""))
    return stems


def _plain_name(profile_id: str) -> str:
    """Return the id with letters and digits of any script, -, _ and inner dots only; never empty."""
    text = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", profile_id)).strip(".-")
    text = text.encode()[:_MAX_BYTES].decode(errors="ignore").strip(".-")
    return f"_{text}" if not text or _RESERVED.fullmatch(text) else text


def _folded(stem: str) -> str:
    return unicodedata.normalize("NFKC", stem).casefold()


def _hash(profile_id: str) -> str:
    return hashlib.sha256(profile_id.encode("utf-8", "surrogateescape")).hexdigest()[:10]
