"""Image paths of a table: found on disk, inside the folders that the user named."""

import contextlib
import functools
import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from style_match.data.records import has_control_character
from style_match.utils.files import on_disk
from style_match.utils.text import folded, plain, shown

_ABSENT = "does not exist below"


def is_absent(fault: str) -> bool:
    """Whether a fault of `ImagePaths.find` says that there is no such file, and none with a similar name."""
    return _ABSENT in fault


class ImagePaths:
    """Finds image files below `base` and refuses paths that lead out of the `allowed` folders.

    A missing file is looked for in `beside`, where a link has to lead into `base`: some datasets contain links into a
    store, such as the snapshots of the Hugging Face Hub and of DVC. The allowed folders may be symbolic links, and
    links between them are fine. A file is found whatever Unicode form its name has on disk (macOS decomposes Hangul
    and accents).
    """

    def __init__(self, base: Path, allowed: tuple[Path, ...], beside: Path | None = None) -> None:
        self.base, self._beside = base, beside
        self._allowed = tuple(Path(os.path.realpath(folder)) for folder in allowed)
        self._real_folder = functools.cache(os.path.realpath)  # once per folder, not per photo
        self._listed = functools.cache(_names_in)

    def find(self, image: str) -> tuple[Path | None, str]:
        """(path, "") of a regular file, or (None, what is wrong and the remedy)."""
        name = shown(image)
        if fault := _fault_of_name(image, self.base):
            return None, f"{name} {fault}"
        found = self.on_disk(image) or self._linked(image)
        if len(found) > 1:
            both = " and ".join(ascii(each.name) for each in found[:2])
            return None, f"{name} is the name of several files that look alike, {both}; rename or remove one"
        path = found[0] if found else self.base / image
        if not self._is_inside(path):
            remedy = (
                "copy the file or, if all photos are links, set data.image_root to a folder that holds their targets, "
                f"such as {os.path.realpath(path)}"
            )
            return None, f"{name} is a symbolic link out of {self.base}; {remedy}"
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            return None, f"{name} {self._absence(path)}"
        except OSError as error:
            return None, f"{name} cannot be read ({error.strerror})"
        if not stat.S_ISREG(mode):
            return None, f"{name} is not a regular file; name an image file"
        return path, ""

    def find_stored(self, path: str) -> tuple[Path | None, str]:
        """`find` for a path that a program stored with the bytes: an absolute one may lead into the folders."""
        if not PurePosixPath(path).is_absolute():
            return self.find(path)
        found = on_disk(Path(path))
        if not found.is_relative_to(self.base) or ".." in found.parts:
            remedy = "name the folder that holds it with image_root=FOLDER"
            return None, f"{shown(path)} is not inside of {self.base}; {remedy}"
        return self.find(found.relative_to(self.base).as_posix())

    def _linked(self, image: str) -> list[Path]:
        """Links in `beside` that lead out of it and into `base`."""
        if self._beside is None:
            return []
        here, base = (Path(self._real_folder(folder)) for folder in (self._beside, self.base))
        found = [(path, Path(os.path.realpath(path))) for path in self.on_disk(image, self._beside)]
        return [path for path, real in found if real.is_relative_to(base) and not real.is_relative_to(here)]

    def on_disk(self, image: str, base: Path | None = None) -> list[Path]:
        """The files below `base` with the name `image` in any Unicode form."""
        base = self.base if base is None else base
        path = base / image
        if image.isascii() and os.path.lexists(path):
            return [path]
        found = [base]
        for part in PurePosixPath(image).parts:
            found = [folder / name for folder in found for name in self._listed(folder).get(plain(part), [])]
        return found

    def _is_inside(self, path: Path) -> bool:
        real = Path(self._real_folder(path.parent), path.name)
        if os.path.islink(real):
            real = Path(os.path.realpath(real))
        return any(folder in real.parents for folder in self._allowed)

    def _absence(self, path: Path) -> str:
        """The end of a message: a file whose name differs only in case, if there is one."""
        folder = self.base
        for part in path.relative_to(self.base).parts:
            near = next((each for each in self._listed(folder) if folded(each) == folded(part)), None)
            if near is None:
                return f"{_ABSENT} {self.base}"
            folder /= self._listed(folder)[near][0]
        return f"does not exist; {plain(str(folder.relative_to(self.base)))!r} does"


def _names_in(folder: Path) -> dict[str, list[str]]:
    """`plain` name -> names in a folder; empty if it cannot be listed."""
    names: dict[str, list[str]] = {}
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(folder)):
            names.setdefault(plain(name), []).append(name)
    return names


def _fault_of_name(image: str, base: Path) -> str:
    """What is wrong with the name of an image, whatever is on disk; "" if nothing is."""
    if "://" in image:
        return "is a web address; download the photos and use their file names"
    if has_control_character(image):
        return "has a control character"
    if PurePosixPath(image).is_absolute() or PureWindowsPath(image).anchor:
        return f"is an absolute path; make it relative to {base}"
    if not PurePosixPath(image).parts:
        return "is not a file name"
    if "\\" in image:
        return "has backslashes; separate folders with /"
    if ".." in PurePosixPath(image).parts:
        return "leaves the folder by '..'; put the file inside or set data.image_root"
    return ""
