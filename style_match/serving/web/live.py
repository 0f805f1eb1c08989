"""The catalogue of a dataset folder, made again whenever the folder changes."""

import gc
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from style_match.data.fingerprints import stamp
from style_match.data.records import FORGOTTEN, JOURNAL
from style_match.utils.errors import UserError
from style_match.utils.progress import say

if TYPE_CHECKING:
    from style_match.serving.web.catalogue import Catalogue

TABLES = tuple(f"{stem}{suffix}" for stem in ("profiles", "couples") for suffix in (".csv", ".parquet"))
FILES = (*TABLES, "metadata.jsonl", "classes.json", JOURNAL, FORGOTTEN)


class Live:
    """Provides the catalogue for each answer. Several threads may call it at the same time.

    Nothing of an earlier catalogue is kept: no vectors, indexes or maps.

    Args:
        root: The dataset folder.
        make: Makes a catalogue of the folder.
        hidden: Folders whose paths are not shown on the page.
    """

    def __init__(self, root: Path, make: "Callable[[], Catalogue]", *, hidden: Iterable[Path]):
        self.root, self.make, self.hidden = root, make, tuple(hidden)
        self._lock = threading.Lock()
        self._catalogue: Catalogue | None = None
        self._stamps: list[list[int] | None] = []

    def current(self) -> "Catalogue":
        """Return the catalogue of the folder in its current state.

        Raises:
            UserError: A profile is being removed from the folder, or the folder has a fault.
        """
        with self._lock:
            while self._catalogue is None or self._stamps != self._current_stamps():
                if self._catalogue is not None:
                    say(f"{self.root} changed: reading it again")
                    self._catalogue.indexes["trained"].close()
                    self._catalogue = None
                    gc.collect()
                if (self.root / JOURNAL).exists():
                    raise UserError("A profile is being removed from this folder. Try again in a moment.")
                self._stamps = self._current_stamps()  # taken before the folder is read, to notice changes meanwhile
                self._catalogue = self.make()
            return self._catalogue

    def _current_stamps(self) -> list[list[int] | None]:
        paths = [self.root / name for name in FILES]
        return [stamp(path.stat()) if path.exists() else None for path in paths]


def without_paths(message: str, folders: Iterable[Path]) -> str:
    """Return a message with the names of these folders instead of their paths."""
    for folder in folders:
        for path in (str(folder.resolve()), str(folder)):
            message = message.replace(path, folder.name) if folder.name else message
    return message
