"""`batches.json` of the out folder: batches at the provider whose answers are not stored yet."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from style_match.utils.errors import UserError
from style_match.utils.files import write_whole


@dataclass
class SentBatch:
    """One batch at the provider.

    Attributes:
        tag: stored in the batch's metadata, to find it again if a run is killed before its id is noted.
        keys: of the requests.
        tokens: estimated input tokens, which count towards the account's queue.
        created_at: Unix time in seconds.
    """

    tag: str
    keys: list[str]
    tokens: int
    created_at: int
    batch_id: str | None = None


class SentBatches:
    """The batches of one out folder. Raises UserError if the file is damaged."""

    def __init__(self, out: Path) -> None:
        self.path = out / "batches.json"
        self.all: list[SentBatch] = []
        if self.path.exists():
            try:
                self.all = [SentBatch(**fields) for fields in json.loads(self.path.read_text(encoding="utf-8"))]
            except (ValueError, TypeError) as error:
                raise UserError(
                    f"{self.path} is damaged ({error}). It names the batches at the provider. Remove it to restart: "
                    "answers of these batches are lost, and paid."
                ) from error

    def save(self) -> None:
        if self.all:
            write_whole(self.path, json.dumps([asdict(batch) for batch in self.all], indent=1) + "\n")
        else:
            self.path.unlink(missing_ok=True)

    def pending(self, keys: Collection[str]) -> frozenset[str]:
        """Return those keys whose requests are in a batch."""
        return frozenset(key for batch in self.all for key in batch.keys).intersection(keys)
