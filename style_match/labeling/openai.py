"""Labels by the OpenAI API, or by any server with the same API."""

import asyncio
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from PIL import Image

from style_match.labeling.answers import Estimate, Progress, Recorder, Request, Task
from style_match.labeling.batch import Batches, SentBatches
from style_match.labeling.client import Address, connect, read_key
from style_match.labeling.cost import check_served, find_model, image_tokens
from style_match.labeling.interface import ENDPOINTS, Interface, shortened
from style_match.labeling.session import Sender, Session
from style_match.utils.errors import UserError

BATCH_PRICE = 0.5  # of the price without batches
# assumptions of estimates
NUM_SAMPLES = 50  # photos that are encoded to count image tokens
BYTES_PER_TOKEN = 4  # of UTF-8 text
OUTPUT_TOKENS = 400  # of one answer, including reasoning


@dataclass(frozen=True, kw_only=True)
class OpenAIOptions:
    """Options of the labeler, documented in `conf/labeler/openai.yaml`."""

    name: str
    model: str | None
    mode: str
    api: str
    base_url: str
    allow_http: bool
    key_env: str | None
    effort: str | None
    detail: str | None
    temperature: float | None
    max_output_tokens: int
    store: bool | None
    timeout_s: float
    max_retries: int
    paid: bool
    price: Mapping[str, float | None]
    models: Sequence[Mapping[str, Any]]
    batch: Mapping[str, Any]


class OpenAILabeler:
    """Sends requests over HTTP.

    Args:
        task: from the step.
        options: fields of `OpenAIOptions`.

    Raises:
        UserError: The model is missing or shut down, or the address is not usable.
    """

    def __init__(self, *, task: Task, **options: Any) -> None:
        self.task, self.options = task, OpenAIOptions(**options)
        if self.options.model is None and not self.options.paid:  # schemas name a model of OpenAI
            raise UserError(f"labeler={self.options.name} needs labeler.model: the name of the model at the server.")
        name = self.options.model or task.schema.preset
        self.address = Address(self.options.base_url, allow_http=self.options.allow_http)
        check_served(name, self.options.models, today=date.today())
        self.model = find_model(name, self.options.models, price=self.options.price)
        self.interface = Interface(
            api=self.options.api,
            model=name,
            effort=self.options.effort or self.model.effort,
            detail=self.options.detail,
            max_output_tokens=self.options.max_output_tokens,
            temperature=self.options.temperature,
            store=self.options.store,
        )
        self.price_factor = BATCH_PRICE if self.options.mode == "batch" else 1.0

    def identity(self) -> dict[str, Any]:
        """Include the server, so that answers of a test server are not taken for those of a model."""
        used = self.interface
        return {
            "server": self.address.name,
            "model": used.model,
            "effort": used.effort,
            "detail": used.detail,
            "temperature": used.temperature,
        }

    def estimate(self, requests: Sequence[Request]) -> Estimate | None:
        """Estimate from a sample of photos in the size in which they would be sent."""
        price = self.model.price
        if not self.options.paid and price is None:
            return None
        num_input, num_output = self.tokens(requests) * len(requests), OUTPUT_TOKENS * len(requests)
        assumed = f"{OUTPUT_TOKENS} tokens assumed for an answer, including reasoning"
        if price is None:
            note = f"no price of {self.model.name} is known; set labeler.price.input, .cached and .output; {assumed}"
            return Estimate(num_input, num_output, None, note)
        dollars = self.price_factor * (num_input * price.input + num_output * price.output) / 1e6
        half = f", times {self.price_factor:g} for a batch" if self.price_factor != 1 else ""
        return Estimate(num_input, num_output, dollars, f"prices of {price.as_of} ({price.source}){half}; {assumed}")

    def tokens(self, requests: Sequence[Request]) -> int:
        """Return the mean number of input tokens of these requests."""
        sizes = [size for request in requests[:: max(1, len(requests) // NUM_SAMPLES)] if (size := _size(request))]
        image = [image_tokens(*size, self.model.image, self.interface.detail) for size in sizes]
        request = requests[0]
        text = f"{request.instructions}{request.text}{request.schema.json_schema}"
        return len(text.encode()) // BYTES_PER_TOKEN + (round(sum(image) / len(image)) if image else 0)

    def preview(self, request: Request) -> dict[str, Any]:
        """Return address, kind of key and body."""
        url = self.address.shown.rstrip("/") + ENDPOINTS[self.interface.api].removeprefix("/v1")
        key_env = self.options.key_env
        return {
            "POST": url,
            "Authorization": f"Bearer (the key in {key_env})" if key_env else "none",
            "body": shortened(self.interface.body(request, request.jpeg())),
        }

    def label(self, requests: Sequence[Request], recorder: Recorder, progress: Progress) -> None:
        """Send the requests one by one, or as batches."""
        key = read_key(self.options.key_env)
        sent = SentBatches(self.task.out)
        if self.options.mode != "batch" and (pending := sent.pending({request.key for request in requests})):
            raise UserError(
                f"{sent.path}: {len(pending)} of these requests are in batches of an earlier run, which are paid. "
                "Collect them with labeler.mode=batch, or remove the file to send them again; the answers of the "
                "batches are lost then."
            )
        asyncio.run(self._label(key, requests, recorder, progress))

    async def _label(self, key: str, requests: Sequence[Request], recorder: Recorder, progress: Progress) -> None:
        options = self.options
        async with connect(self.address, key, timeout_s=options.timeout_s, max_retries=options.max_retries) as client:
            session = Session(
                client=client,
                key=key,
                key_env=options.key_env,
                server=self.address.shown,
                interface=self.interface,
                price=self.model.price,
                price_factor=self.price_factor,
                recorder=recorder,
                progress=progress,
            )
            if options.mode == "batch":
                tokens = await asyncio.to_thread(self.tokens, requests)
                await Batches(session, self.task.out, tokens=tokens, **options.batch).run(requests)
            else:
                await Sender(session).run(requests, concurrency=self.task.concurrency)


def _size(request: Request) -> tuple[int, int] | None:
    """Return (width, height) of the photo as sent; None if it cannot be read, which is reported when it is sent."""
    try:
        with Image.open(io.BytesIO(request.jpeg())) as image:
            return image.size
    except UserError:
        return None
