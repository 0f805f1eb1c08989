"""Labels by the OpenAI API, or by any server that speaks it."""

import asyncio
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

from style_match.labeling.answers import ENDPOINTS, Estimate, Interface, Progress, Record, Request, Task, shortened
from style_match.labeling.batch import Shards
from style_match.labeling.client import Address, connect, read_key
from style_match.labeling.cost import check_served, find_model, image_tokens
from style_match.utils.errors import UserError

if TYPE_CHECKING:
    from openai import AsyncOpenAI


# One photo with what is asked about it, addressed by everything that decides the answer.


TOKENS = 1_000_000


class OpenAILabeler:
    """Asks a model over HTTP; every option is explained in `conf/labeler/openai.yaml`.

    Raises:
        UserError: no model, or one that is not served any more, or an address that would take photos unencrypted.
    """

    def __init__(
        self,
        *,
        task: Task,
        name: str,
        model: str | None,
        mode: str,
        api: str,
        base_url: str,
        allow_http: bool,
        key_env: str | None,
        effort: str | None,
        detail: str | None,
        temperature: float | None,
        max_output_tokens: int,
        store: bool | None,
        timeout_s: float,
        connect_timeout_s: float,
        requests_per_min: int | None,
        tokens_per_min: int | None,
        max_failures_in_row: int,
        invalid_attempts: int,
        retry: Mapping[str, float],
        estimate: Mapping[str, int],
        warn_days: int,
        price: Mapping[str, float | None],
        paid: bool,
        models: Sequence[Mapping[str, Any]],
        other_image: Mapping[str, Any],
        batch: Mapping[str, Any],
    ) -> None:
        if model is None and not paid:  # the schema's preset is a model of the OpenAI API
            raise UserError(f"labeler.model is needed by labeler={name}: write it as the server calls it.")
        called = model or task.schema.preset
        self.name, self.task, self.mode, self.paid, self.key_env = name, task, mode, paid, key_env
        self.address = Address(base_url, allow_http=allow_http)
        check_served(called, models, warn_days=warn_days, today=date.today())
        self.model = find_model(called, models, price=price, image=other_image)
        self.interface = Interface(
            api=api,
            model=called,
            effort=effort or self.model.effort,
            detail=detail,
            max_output_tokens=max_output_tokens,
            temperature=temperature,
            store=store,
        )
        self.timeout_s, self.connect_timeout_s = timeout_s, connect_timeout_s
        self.limits = {"requests_per_min": requests_per_min, "tokens_per_min": tokens_per_min}
        self.max_failures_in_row, self.invalid_attempts, self.retry = max_failures_in_row, invalid_attempts, retry
        self.assumed, self.batch = estimate, batch

    def at_work(self, requests: Sequence[Request]) -> frozenset[str]:
        """Those in batches that are known at the server; whether others are there too is found when it is asked."""
        shards = Shards(self.task.out)
        wanted = {request.key for request in requests}
        waiting = [shard for shard in shards.open if not shard.is_collected and wanted.intersection(shard.keys)]
        if waiting and self.mode != "batch":
            number = sum(len(wanted.intersection(shard.keys)) for shard in waiting)
            raise UserError(
                f"{shards.path}: {number} of these requests are in batches of an earlier run, or were on the way into "
                "one; what is there is paid. Collect them with labeler.mode=batch, or remove the file to send them "
                "again; what the batches answer is lost then."
            )
        return frozenset(key for shard in waiting if shard.batch_id for key in wanted.intersection(shard.keys))

    def identity(self) -> dict[str, Any]:
        """The server's name is part of it: what a test server said is not taken for a model's answer."""
        asked = self.interface
        return {
            "server": self.address.name,
            "model": asked.model,
            "effort": asked.effort,
            "detail": asked.detail,
            "temperature": asked.temperature,
        }

    @property
    def price_factor(self) -> float:
        return float(self.batch["price_factor"]) if self.mode == "batch" else 1.0

    def estimate(self, requests: Sequence[Request]) -> Estimate | None:
        """From the pictures of some requests, spread over all, in the size in which they would be sent."""
        if not self.paid and self.model.price is None:
            return None
        per_photo = self.tokens(requests)
        tokens_in, tokens_out = per_photo * len(requests), self.assumed["output_tokens"] * len(requests)
        assumed = f"{self.assumed['output_tokens']} tokens assumed for an answer, reasoning included"
        price = self.model.price
        if price is None:
            missing = f"no price of {self.model.name} is known; labeler.price.input, .cached and .output take one"
            return Estimate(tokens_in, tokens_out, None, f"{missing}; {assumed}")
        dollars = self.price_factor * (tokens_in * price.input + tokens_out * price.output) / TOKENS
        half = f", times {self.price_factor:g} for a batch" if self.mode == "batch" else ""
        return Estimate(tokens_in, tokens_out, dollars, f"prices of {price.as_of} ({price.source}){half}; {assumed}")

    def tokens(self, requests: Sequence[Request]) -> int:
        """Input tokens of one of these requests, on average; text is counted as `bytes_per_token`."""
        step = max(1, len(requests) // self.assumed["num_photos"])
        found = [size for request in requests[::step] if (size := _size(request))]
        image = [image_tokens(*size, self.model.image, self.interface.detail) for size in found]
        text = max((self._text_tokens(request) for request in requests[:1]), default=0)
        return text + (round(sum(image) / len(image)) if image else 0)

    def _text_tokens(self, request: Request) -> int:
        written = f"{request.instructions}{request.text}{request.schema.json_schema}"
        return len(written.encode()) // self.assumed["bytes_per_token"]

    def preview(self, request: Request) -> dict[str, Any]:
        body = shortened(self.interface.body(request, request.jpeg()))
        where = self.address.shown.rstrip("/") + ENDPOINTS[self.interface.api].removeprefix("/v1")
        key = f"Bearer (the key in {self.key_env})" if self.key_env else "none"
        return {"POST": where, "Authorization": key, "body": body}

    def label(self, requests: Sequence[Request], record: Record, progress: Progress) -> None:
        """Ask them all, at once or as batches."""
        key = read_key(self.key_env)
        if not requests:
            return
        asyncio.run(self._label(key, requests, record, progress))

    async def _label(self, key: str, requests: Sequence[Request], record: Record, progress: Progress) -> None:
        from style_match.labeling.batch import Batches
        from style_match.labeling.client import Sender

        async with self.connect(key) as client:
            run = Batches if self.mode == "batch" else Sender
            await run(self, client, key, record, progress).label(requests)

    def connect(self, key: str) -> "AsyncOpenAI":
        return connect(self.address, key, timeout_s=self.timeout_s, connect_timeout_s=self.connect_timeout_s)


def _size(request: Request) -> tuple[int, int] | None:
    """(width, height) of what would be sent; None for a photo that cannot be read, which is said when it is asked."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(request.jpeg())) as image:
            return image.size
    except UserError:
        return None
