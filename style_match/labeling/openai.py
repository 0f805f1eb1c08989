"""Labels by the OpenAI API, or by any server with the same API."""

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from style_match.labeling.answers import Estimate, Request, Task, Usage
from style_match.labeling.batch import ENDPOINTS, Batches
from style_match.labeling.client import Address, connect, read_key
from style_match.labeling.cost import UNLISTED_IMAGE, check_served, find_model, find_price, image_tokens
from style_match.labeling.photos import sent_size
from style_match.labeling.recorder import Recorder
from style_match.labeling.sent_batches import SentBatches
from style_match.labeling.session import Sender, Session
from style_match.utils.errors import UserError
from style_match.utils.progress import Advance

MAX_URL = 48  # characters of a photo on the screen
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
        self.model_name = self.model or self.task.schema.preset
        self.address = Address(self.base_url, allow_http=self.allow_http)
        model = find_model(self.model_name, self.models)
        check_served(self.model_name, model, today=date.today())
        self.image_rule = model.get("image", UNLISTED_IMAGE)
        self.effort = self.effort or model.get("effort")
        self.known_price = find_price(model, self.price, factor=BATCH_PRICE if self.mode == "batch" else 1.0)

    def identity(self) -> dict[str, Any]:
        """Include the server, so that answers of a test server are not taken for those of a model."""
        return {
            "server": self.address.name,
            "model": self.model_name,
            "effort": self.effort,
            "detail": self.detail,
            "temperature": self.temperature,
        }

    def estimate(self, requests: Sequence[Request]) -> Estimate | None:
        """Estimate from the sizes in which the photos would be sent."""
        price = self.known_price
        if not self.paid and price is None:
            return None
        num_input, num_output = self.tokens(requests) * len(requests), OUTPUT_TOKENS * len(requests)
        assumed = f"{OUTPUT_TOKENS} tokens assumed for an answer, including reasoning"
        if price is None:
            note = f"no price of {self.model_name} is known; set labeler.price.input, .cached and .output; {assumed}"
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

    def body(self, request: Request) -> dict[str, Any]:
        """Return the request: prompt, schema, and pixels of the photo; nothing else of the user.

        Raises:
            UserError: The photo cannot be read or has changed.
        """
        url = f"data:image/jpeg;base64,{base64.b64encode(request.jpeg()).decode()}"
        json_schema = {"name": request.schema.name, "schema": request.schema.json_schema, "strict": True}
        if self.api == "responses":
            photo = _given(type="input_image", image_url=url, detail=self.detail)
            options = {
                "reasoning": _given(effort=self.effort) or None,
                "instructions": request.instructions,
                "input": [{"role": "user", "content": [{"type": "input_text", "text": request.text}, photo]}],
                "text": {"format": {"type": "json_schema", **json_schema}},
                "max_output_tokens": self.max_output_tokens,
            }
        else:
            photo = {"type": "image_url", "image_url": _given(url=url, detail=self.detail)}
            limit = "max_tokens" if self.store is None else "max_completion_tokens"  # other servers know the old name
            options = {
                "reasoning_effort": self.effort,
                "messages": [
                    {"role": "system", "content": request.instructions},
                    {"role": "user", "content": [{"type": "text", "text": request.text}, photo]},
                ],
                "response_format": {"type": "json_schema", "json_schema": json_schema},
                limit: self.max_output_tokens,
            }
        return _given(model=self.model_name, store=self.store, temperature=self.temperature, **options)

    def preview(self, request: Request) -> dict[str, Any]:
        """Return address, kind of key and body."""
        return {
            "POST": self.address.shown.rstrip("/") + ENDPOINTS[self.api].removeprefix("/v1"),
            "Authorization": f"Bearer (the key in {self.key_env})" if self.key_env else "none",
            "body": shortened(self.body(request)),
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
            session = Session(self, client, key, recorder, progress)
            if self.mode == "batch":
                await Batches(session, tokens=self.tokens(requests), **self.batch).run(requests)
            else:
                await Sender(session).run(requests, concurrency=self.task.concurrency)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def shortened(body: Any) -> Any:
    """Return a body for the screen, without most of the photo."""
    if isinstance(body, str) and body.startswith("data:") and len(body) > MAX_URL:
        return f"{body[:MAX_URL]}... ({len(body):,} characters)"
    if isinstance(body, Mapping):
        return {key: shortened(value) for key, value in body.items()}
    return [shortened(value) for value in body] if isinstance(body, list) else body
