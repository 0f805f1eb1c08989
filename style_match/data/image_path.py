"""Where the file of a row's `image` lies, kept inside the folders the user named."""

import os
import stat
import unicodedata
from pathlib import Path, PurePosixPath, PureWindowsPath

from style_match.data.faults import has_control_character


class ImagePaths:
    """Finds image files below `base` and refuses what leads out of the `allowed` folders.

    The allowed folders may themselves be symbolic links, and links between them are fine.
    """

    def __init__(self, base: Path, allowed: tuple[Path, ...]) -> None:
        self.base = base
        self._allowed = tuple(os.path.realpath(folder) for folder in allowed)
        self._real_parents: dict[Path, str] = {}
        self._names: dict[Path, dict[str, str]] = {}

    def find(self, image: str) -> tuple[Path | None, str]:
        """(path, "") of a regular file, or (None, what is wrong and the remedy)."""
        if "://" in image:
            return None, f"{image!r} is a web address; download the photos and write their file names"
        if has_control_character(image):
            return None, f"{image!r} holds a control character"
        if PurePosixPath(image).is_absolute() or PureWindowsPath(image).anchor:
            return None, f"{image!r} is an absolute path; write it relative to {self.base}"
        if not PurePosixPath(image).parts:
            return None, f"{image!r} is not a file name"
        if "\\" in image:
            return None, f"{image!r} is written with backslashes; write folders with /"
        if ".." in PurePosixPath(image).parts:
            return None, f"{image!r} leaves the folder by '..'; put the file inside or set data.image_root"
        path = self.base / image
        if not self._is_inside(path):
            return None, f"{image!r} is a symbolic link out of {self.base}; copy the file or set data.image_root"
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            return None, f"{image!r} does not exist{self._near(path)}"
        except OSError as error:
            return None, f"{image!r} cannot be read ({error.strerror})"
        if not stat.S_ISREG(mode):
            return None, f"{image!r} is not a regular file; name an image file"
        return path, ""

    def _is_inside(self, path: Path) -> bool:
        if path.parent not in self._real_parents:  # one look a folder, not one a photo
            self._real_parents[path.parent] = os.path.realpath(path.parent)
        real = os.path.join(self._real_parents[path.parent], path.name)
        if os.path.islink(real):
            real = os.path.realpath(real)
        return any(real.startswith(folder.rstrip(os.sep) + os.sep) for folder in self._allowed)

    def _near(self, path: Path) -> str:
        """A hint when only capitals or the Unicode form differ (macOS writes Hangul and accents decomposed)."""
        if path.parent not in self._names:
            names = os.listdir(path.parent) if path.parent.is_dir() else []
            self._names[path.parent] = {_folded(name): name for name in names}
        near = self._names[path.parent].get(_folded(path.name))
        if near is None:
            return f" below {self.base}"
        if unicodedata.normalize("NFC", near) == unicodedata.normalize("NFC", path.name):
            return f"; {near!r} does, written in another Unicode form: rename it"
        return f"; {near!r} does"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
