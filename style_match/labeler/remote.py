"""Files and batches at the provider: sent, found again, read, removed; each call repeated where that helps."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from style_match.errors import UserError
from style_match.labeler.client import without_secrets
from style_match.labeler.retry import Again, Rejected
from style_match.labeler.sender import Sender
from style_match.labeler.shard import Shard
from style_match.progress import say

if TYPE_CHECKING:
    from openai.types import Batch

T = TypeVar("T")
SKEW_S = 3600  # between this clock and the provider's


class Unsure(UserError):
    """It may have reached the provider, or not."""


class Remote:
    """Every method raises UserError where it does not come through.

    Args:
        sender: for its client, its repeating and its judging.
        expires_s: after that files go by themselves.
    """

    def __init__(self, sender: Sender, *, server: str, expires_s: int) -> None:
        self.sender, self.client, self.server, self.expires_s = sender, sender.client, server, expires_s

    async def upload(self, shard: Shard, path: Path) -> str:
        """The id of the file."""

        async def upload() -> str:
            with open(path, "rb") as file:
                sent = await self.client.files.create(
                    file=(shard.filename, file),
                    purpose="batch",
                    expires_after={"anchor": "created_at", "seconds": self.expires_s},
                )
            return sent.id

        return await self._call(upload)

    async def create(self, shard: Shard) -> str:
        """The id of the shard's batch; a repeated call finds the first one's, so that none is paid twice."""

        async def create() -> "Batch":
            return await self._look_for(shard) or await self.client.batches.create(
                input_file_id=str(shard.file_id),
                endpoint=shard.endpoint,  # type: ignore[arg-type]
                completion_window="24h",
                metadata={"tag": shard.tag},
                output_expires_after={"anchor": "created_at", "seconds": self.expires_s},
            )

        return (await self._call(create)).id

    async def retrieve(self, shard: Shard) -> "Batch | None":
        """None where it is gone."""
        from openai import NotFoundError

        async def retrieve() -> "Batch | None":
            try:
                return await self.client.batches.retrieve(str(shard.batch_id))
            except NotFoundError:
                return None

        return await self._call(retrieve)

    async def find_batch(self, shard: Shard) -> "Batch | None":
        return await self._call(lambda: self._look_for(shard))

    async def find_file(self, shard: Shard) -> str | None:
        async def find() -> str | None:
            async for file in self.client.files.list(purpose="batch", order="desc"):
                if file.filename == shard.filename:
                    return file.id
                if file.created_at < shard.made_at - SKEW_S:
                    break
            return None

        return await self._call(find)

    async def lines(self, shard: Shard, file_id: str) -> list[bytes]:
        """Of an output or error file; none where the provider has removed it, which it does after a while."""
        from openai import NotFoundError

        async def read() -> bytes | None:
            try:
                return (await self.client.files.content(file_id)).content
            except NotFoundError:
                return None

        content = await self._call(read)
        if content is None:
            say(f"batch {shard.batch_id}: {file_id}, a file of its answers, has expired; what it held is asked again")
        return (content or b"").split(b"\n")

    async def remove(self, file_id: str) -> None:
        """Where that cannot be had, it is said."""
        from openai import APIError

        try:
            await self.client.files.delete(file_id)
        except APIError as error:
            said, hours = without_secrets(error.message, self.sender.key), self.expires_s // 3600
            say(f"file {file_id} could not be removed at {self.server} ({said}); it expires within {hours} h")

    async def _look_for(self, shard: Shard) -> "Batch | None":
        async for batch in self.client.batches.list(limit=100):
            if (batch.metadata or {}).get("tag") == shard.tag:
                return batch
            if batch.created_at < shard.made_at - SKEW_S:
                break
        return None

    async def _call(self, do: Callable[[], Awaitable[T]]) -> T:
        from openai import APIError

        async def once() -> T:
            try:
                return await do()
            except APIError as error:
                raise self.sender.judged(error) from None

        try:
            done = await self.sender.repeat(once)
        except (Again, Rejected) as error:
            kind = Unsure if isinstance(error, Again) and error.sent else UserError
            raise kind(
                f"{self.server}: {error}. Batches at work go on there; run the same command again later."
            ) from None
        self.sender.reached = True
        return done
