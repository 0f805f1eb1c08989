"""Labels by the OpenAI API, or by any server with the same API."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from style_match.labeling.answers import Estimate, Request, Task, Usage
from style_match.labeling.batch import Batches
from style_match.labeling.client import Address, connect, read_key
from style_match.labeling.cost import UNLISTED_IMAGE, check_served, find_model, find_price, image_tokens
from style_match.labeling.interface import ENDPOINTS, Interface, shortened
from style_match.labeling.photos import sent_size
from style_match.labeling.recorder import Recorder
from style_match.labeling.sent_batches import SentBatches
from style_match.labeling.session import Sender, Session
from style_match.utils.errors import UserError
from style_match.utils.progress import Advance

BATCH_PRICE = 0.5  # of the price without batches
# assumptions of estimates
BYTES_PER_TOKEN = 4  # of UTF-8 text
OUTPUT_TOKENS = 400  # of one answer, including reasoning


@dataclass(kw_only=True)
class OpenAILabeler:
    """Sends requests over HTTP. The options are documented in `conf/labeler/openai.yaml`.

    Args:
        task: from the step.

    Raises:
        UserError: The model is missing or shut down, or the address is not usable.
    """

    task: Task
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

    def __post_init__(self) -> None:
        if self.model is None and not self.paid:  # schemas name a model of OpenAI
            raise UserError(f"labeler={self.name} needs labeler.model: the name of the model at the server.")
        name = self.model or self.task.schema.preset
        self.address = Address(self.base_url, allow_http=self.allow_http)
        model = find_model(name, self.models)
        check_served(name, model, today=date.today())
        self.image_rule = model.get("image", UNLISTED_IMAGE)
        self.interface = Interface(
            api=self.api,
            model=name,
            effort=self.effort or model.get("effort"),
            detail=self.detail,
            max_output_tokens=self.max_output_tokens,
            temperature=self.temperature,
            store=self.store,
            price=find_price(model, self.price, factor=BATCH_PRICE if self.mode == "batch" else 1.0),
        )

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
        """Estimate from the sizes in which the photos would be sent."""
        price = self.interface.price
        if not self.paid and price is None:
            return None
        num_input, num_output = self.tokens(requests) * len(requests), OUTPUT_TOKENS * len(requests)
        assumed = f"{OUTPUT_TOKENS} tokens assumed for an answer, including reasoning"
        if price is None:
            model = self.interface.model
            note = f"no price of {model} is known; set labeler.price.input, .cached and .output; {assumed}"
            return Estimate(num_input, num_output, None, note)
        half = f", times {price.factor:g} for a batch" if price.factor != 1 else ""
        note = f"prices of {price.as_of} ({price.source}){half}; {assumed}"
        return Estimate(num_input, num_output, price.of(Usage(num_input, 0, num_output)), note)

    def tokens(self, requests: Sequence[Request]) -> int:
        """Return the mean number of input tokens of these requests."""
        sizes = [sent_size(request.facts, request.encoding) for request in requests]
        image = sum(image_tokens(*size, self.image_rule, self.detail) for size in sizes) / len(sizes)
        text = f"{requests[0].instructions}{requests[0].text}{requests[0].schema.json_schema}"
        return len(text.encode()) // BYTES_PER_TOKEN + round(image)

    def preview(self, request: Request) -> dict[str, Any]:
        """Return address, kind of key and body."""
        return {
            "POST": self.address.shown.rstrip("/") + ENDPOINTS[self.api].removeprefix("/v1"),
            "Authorization": f"Bearer (the key in {self.key_env})" if self.key_env else "none",
            "body": shortened(self.interface.body(request, request.jpeg())),
        }

    def label(self, requests: Sequence[Request], recorder: Recorder, progress: Advance) -> None:
        """Send the requests one by one, or as batches."""
        key = read_key(self.key_env)
        sent = SentBatches(self.task.out)
        if self.mode != "batch" and (pending := sent.pending({request.key for request in requests})):
            raise UserError(
                f"{sent.path}: {len(pending)} of these requests are in batches of an earlier run, which are paid. "
                "Collect them with labeler.mode=batch, or remove the file to send them again; the answers of the "
                "batches are lost then."
            )
        asyncio.run(self._label(key, requests, recorder, progress))

    async def _label(self, key: str, requests: Sequence[Request], recorder: Recorder, progress: Advance) -> None:
        async with connect(self.address, key, timeout_s=self.timeout_s, max_retries=self.max_retries) as client:
            session = Session(
                client=client,
                key=key,
                key_env=self.key_env,
                server=self.address.shown,
                interface=self.interface,
                recorder=recorder,
                progress=progress,
            )
            if self.mode == "batch":
                tokens = self.tokens(requests)
                await Batches(session, self.task.out, tokens=tokens, **self.batch).run(requests)
            else:
                await Sender(session).run(requests, concurrency=self.task.concurrency)
