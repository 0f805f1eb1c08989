"""Where the file of a row's `image` lies, kept inside the folders the user named."""

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from style_match.data.faults import has_control_character
from style_match.files import on_disk
from style_match.spelling import folded, plain, shown


def is_absent(fault: str) -> bool:
    """Whether a fault of `ImagePaths.find` says that there is no such file, and none with a name that is near."""
    return "does not exist below" in fault


class ImagePaths:
    """Finds image files below `base` and refuses what leads out of the `allowed` folders.

    What is not there is looked for in `beside`, where a link has to lead into `base`: so are datasets laid out whose
    photos are links into a store, such as the snapshots of the Hugging Face Hub and of DVC.

    The allowed folders may themselves be symbolic links, and links between them are fine. A file is found whatever
    Unicode form its name has on disk (macOS writes Hangul and accents decomposed).
    """

    def __init__(self, base: Path, allowed: tuple[Path, ...], beside: Path | None = None) -> None:
        self.base, self._beside = base, beside
        self._real_base = os.path.realpath(base)
        self._allowed = tuple(os.path.realpath(folder) for folder in allowed)
        self._real_parents: dict[Path, str] = {}
        self._names: dict[Path, dict[str, list[str]]] = {}

    def find(self, image: str) -> tuple[Path | None, str]:
        """(path, "") of a regular file, or (None, what is wrong and the remedy)."""
        name = shown(image)
        if "://" in image:
            return None, f"{name} is a web address; download the photos and write their file names"
        if has_control_character(image):
            return None, f"{name} holds a control character"
        if PurePosixPath(image).is_absolute() or PureWindowsPath(image).anchor:
            return None, f"{name} is an absolute path; write it relative to {self.base}"
        if not PurePosixPath(image).parts:
            return None, f"{name} is not a file name"
        if "\\" in image:
            return None, f"{name} is written with backslashes; write folders with /"
        if ".." in PurePosixPath(image).parts:
            return None, f"{name} leaves the folder by '..'; put the file inside or set data.image_root"
        found = self.on_disk(image) or self._linked(image)
        if len(found) > 1:
            both = " and ".join(ascii(each.name) for each in found[:2])
            return None, f"{name} is the name of several files that look alike, {both}; rename or remove one"
        path = found[0] if found else self.base / image
        if not self._is_inside(path):
            what = (
                f"{name} is a symbolic link out of {self.base}; copy the file or set data.image_root to a folder that"
            )
            return None, f"{what} holds {os.path.realpath(path)}"
        try:
            mode = os.stat(path).st_mode
        except FileNotFoundError:
            return None, f"{name} does not exist{self._near(path)}"
        except OSError as error:
            return None, f"{name} cannot be read ({error.strerror})"
        if not stat.S_ISREG(mode):
            return None, f"{name} is not a regular file; name an image file"
        return path, ""

    def find_stored(self, path: str) -> tuple[Path | None, str]:
        """`find` for a path that a program stored beside the bytes: an absolute one may lead into the folders."""
        if not PurePosixPath(path).is_absolute():
            return self.find(path)
        found = on_disk(Path(path))
        if not found.is_relative_to(self.base) or ".." in found.parts:
            return (
                None,
                f"{shown(path)} is not inside of {self.base}; name the folder that holds it with image_root=FOLDER",
            )
        return self.find(found.relative_to(self.base).as_posix())

    def _linked(self, image: str) -> list[Path]:
        """Links in `beside` under the name that lead out of it and into `base`."""
        if self._beside is None:
            return []
        here = Path(os.path.realpath(self._beside))
        found = [(path, Path(os.path.realpath(path))) for path in self.on_disk(image, self._beside)]
        return [path for path, real in found if real.is_relative_to(self._real_base) and not real.is_relative_to(here)]

    def on_disk(self, image: str, base: Path | None = None) -> list[Path]:
        """What is below `base` under the name `image` in any Unicode form; an ASCII name is tried as it is first."""
        base = self.base if base is None else base
        path = base / image
        if image.isascii() and os.path.lexists(path):
            return [path]
        found = [base]
        for part in PurePosixPath(image).parts:
            found = [folder / name for folder in found for name in self._listed(folder).get(plain(part), [])]
        return found

    def _is_inside(self, path: Path) -> bool:
        if path.parent not in self._real_parents:  # one look a folder, not one a photo
            self._real_parents[path.parent] = os.path.realpath(path.parent)
        real = os.path.join(self._real_parents[path.parent], path.name)
        if os.path.islink(real):
            real = os.path.realpath(real)
        return any(real.startswith(folder.rstrip(os.sep) + os.sep) for folder in self._allowed)

    def _listed(self, folder: Path) -> dict[str, list[str]]:
        """The names in a folder by their one spelling; read once, none where the folder cannot be listed."""
        if folder not in self._names:
            names: dict[str, list[str]] = {}
            try:
                for name in sorted(os.listdir(folder)):
                    names.setdefault(plain(name), []).append(name)
            except OSError:
                names = {}
            self._names[folder] = names
        return self._names[folder]

    def _near(self, path: Path) -> str:
        """A hint where a file is there whose name differs only in upper and lower case."""
        folder = self.base
        for part in path.relative_to(self.base).parts:
            near = next((each for each in self._listed(folder) if folded(each) == folded(part)), None)
            if near is None:
                return f" below {self.base}"
            folder /= self._listed(folder)[near][0]
        return f"; {plain(str(folder.relative_to(self.base)))!r} does"
