"""The catalogue of the dataset folder as it is now: made again whenever the folder was changed."""

import gc
import threading
from collections.abc import Callable, Sequence
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
    """Gives the catalogue to answer from; may be asked from several threads at once.

    Nothing of an earlier catalogue is kept: with it go its vectors, indexes, thumbnails and maps.

    Args:
        root: the dataset folder.
        make: makes a catalogue of what the folder holds.
        public: see `Catalogue.public`.
    """

    def __init__(self, root: Path, make: "Callable[[], Catalogue]", *, public: Callable[[str], str]):
        self.root, self.make, self.public = root, make, public
        self._lock = threading.Lock()
        self._made: Catalogue | None = None
        self._of: Sequence[object] = ()

    def current(self) -> "Catalogue":
        """The catalogue of the folder as it is.

        Raises:
            UserError: somebody is being removed from the folder, or the folder as it is has a fault.
        """
        with self._lock:
            while self._made is None or self._of != self._now():
                if self._made is not None:
                    say(f"{self.root} was changed: it is read again")
                    self._made.close()
                    self._made = None
                    gc.collect()
                if (self.root / JOURNAL).exists():
                    raise UserError("Somebody is being removed from these profiles: try again in a moment.")
                self._of = self._now()  # before it is read, so that a change meanwhile is seen
                self._made = self.make()
            return self._made

    def _now(self) -> list[object]:
        return [self._stamp(self.root / name) for name in FILES]

    @staticmethod
    def _stamp(path: Path) -> list[int] | None:
        try:
            return stamp(path.stat())
        except OSError:
            return None
