"""Feature extraction: photo and prompt -> frozen backbone -> every pooling, for the rows that a store lacks."""

import hashlib
import io
import itertools
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from style_match.backbone.feature_key import row_address, view_address
from style_match.backbone.feature_store import FeatureStore, ShardWriter
from style_match.data.augmentation import View
from style_match.data.images import COLOUR_POLICY, DECODE_POLICY, decode_stream
from style_match.utils.errors import UserError

if TYPE_CHECKING:
    from PIL.Image import Image

    from style_match.backbone.qwen3_vl import Qwen3VL

T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """What one feature row is computed from.

    Attributes:
        address: Address in the store.
        path: File of the photo; None for a prompt without a photo.
        prompt: Rendered prompt.
        width, height: Size of the upright photo in pixels.
        view: Augmented view of the photo; None for the photo itself.
        owner: What `style_match.forget` finds the row by: sha256 (hex) of the photo, or `owner_of` the profile.
    """

    address: str
    path: Path | None
    prompt: str
    width: int
    height: int
    view: View | None = None
    owner: str | None = None

    def of_view(self, view: View) -> "Row":
        """Return the row of a view of this photo."""
        return replace(self, address=view_address(self.address, view.policy), view=view)


@dataclass(frozen=True)
class Extraction:
    """Distinct rows found and computed, wall time, and the token budget that GPU memory allowed in the end."""

    from_store: int
    computed: int
    seconds: float
    token_budget: int


def extract(
    rows: Sequence[Row],
    store: FeatureStore,
    backbone: Callable[[], "Qwen3VL"],
    poolings: dict[str, Callable],
    *,
    token_budget: int,
    num_workers: int,
    max_source_pixels: int,
    progress: Callable[[int, int], None],
) -> Extraction:
    """Compute each distinct row that `store` lacks, with all `poolings` of one forward pass, and add it.

    Args:
        rows: Rows to provide.
        store: Where they are stored.
        backbone: Called once, and only if rows are missing and the store can be written.
        poolings: Name -> function of `style_match.backbone.pooling`.
        token_budget: Maximum padded tokens of a batch; halved with a warning when GPU memory runs out.
        num_workers: Threads that decode and preprocess photos ahead of the model.
        max_source_pixels: Maximum pixels of a photo's file.
        progress: Called with (rows done, rows missing).

    Raises:
        UserError: A photo cannot be read or has changed, the store cannot be written, one photo does not fit into GPU
            memory, or a feature is not finite. Rows computed before are stored.
    """
    start = time.perf_counter()
    distinct = {row.address: row for row in rows}
    missing = [distinct[address] for address in store.missing([row.address for row in rows])]
    if missing:
        with store.writer() as writer:
            token_budget = _compute(
                missing, writer, backbone(), poolings, token_budget, num_workers, max_source_pixels, progress
            )
    return Extraction(len(distinct) - len(missing), len(missing), time.perf_counter() - start, token_budget)


def _compute(
    rows: list[Row],
    writer: ShardWriter,
    backbone: "Qwen3VL",
    poolings: dict[str, Callable],
    token_budget: int,
    num_workers: int,
    max_source_pixels: int,
    progress: Callable[[int, int], None],
) -> int:
    """Return the token budget in force at the end."""
    num_tokens = cache(backbone.num_tokens)  # many photos have the same prompt and size
    counted = [(num_tokens(row.prompt, row.width, row.height), row) for row in rows]
    counted.sort(key=lambda pair: -pair[0])  # longest first: memory runs out at the start or not at all
    lengths, rows = [length for length, _ in counted], [row for _, row in counted]

    def prepare(batch: slice) -> dict[str, torch.Tensor]:
        # Each photo becomes patches before the next is decoded: full-size photos of a batch would fill the memory.
        photos = _collect(lambda row: backbone.patchify(_photo(row, max_source_pixels)), rows[batch])
        return backbone.collate(photos, [row.prompt for row in rows[batch]])

    done = 0
    progress(done, len(rows))
    while done < len(rows):
        batches = batch_slices(lengths, token_budget, done)
        with closing(_prepared(prepare, batches, num_workers)) as prepared:
            for batch, inputs in prepared:
                try:
                    pooled = {name: vectors.cpu() for name, vectors in backbone.pool(inputs, poolings).items()}
                except torch.OutOfMemoryError:
                    pooled = None  # handled below, where the traceback does not keep tensors on the GPU any more
                if pooled is None:
                    token_budget = _smaller_budget(rows[batch], lengths[batch], token_budget)
                    break
                _add(rows[batch], pooled, writer)
                done = batch.stop
                progress(done, len(rows))
    return token_budget


def batch_slices(num_tokens: Sequence[int], token_budget: int, start: int = 0) -> Iterator[slice]:
    """Cut a sequence sorted by falling token count into batches of near equal lengths.

    Args:
        num_tokens: Tokens of each item, largest first.
        token_budget: Maximum tokens of a batch after padding to its longest item; a longer item is a batch by itself.
        start: First item.
    """
    while start < len(num_tokens):
        stop = min(len(num_tokens), start + max(1, token_budget // max(1, num_tokens[start])))
        yield slice(start, stop)
        start = stop


def _prepared(prepare: Callable[[slice], T], batches: Iterable[slice], num_workers: int) -> Generator[tuple[slice, T]]:
    """Yield each batch with its inputs, in order, while threads prepare the next `num_workers` batches."""
    batches = iter(batches)
    with ThreadPoolExecutor(max(1, num_workers), "decode") as threads:
        waiting = deque((batch, threads.submit(prepare, batch)) for batch in itertools.islice(batches, num_workers + 1))
        try:
            while waiting:
                batch, future = waiting.popleft()
                inputs = future.result()
                yield batch, inputs
                waiting.extend((batch, threads.submit(prepare, batch)) for batch in itertools.islice(batches, 1))
        finally:
            threads.shutdown(cancel_futures=True)


def decode_rows(rows: Sequence[Row], max_source_pixels: int) -> list["Image | None"]:
    """Return the photos of rows, None for a prompt without a photo.

    Raises:
        UserError: All photos that cannot be read or have changed.
    """
    return _collect(lambda row: _photo(row, max_source_pixels), rows)


def _collect(function: Callable[[Row], T], rows: Sequence[Row]) -> list[T]:
    """Return the result for each row; raise the mistakes of all rows together."""
    results, mistakes = [], []
    for row in rows:
        try:
            results.append(function(row))
        except UserError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UserError("\n".join(mistakes))
    return results


def _photo(row: Row, max_source_pixels: int) -> "Image | None":
    if (path := row.path) is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    sha256 = hashlib.sha256(content).hexdigest()
    # which of the two policies applies was decided when the photo was checked
    valid = [row_address(sha256, policy, row.prompt) for policy in (DECODE_POLICY, COLOUR_POLICY)]
    if row.address not in (valid if row.view is None else [view_address(each, row.view.policy) for each in valid]):
        raise UserError(f"{path} has changed since it was checked. Run the command again.")
    image = decode_stream(io.BytesIO(content), str(path), max_source_pixels=max_source_pixels)
    return image if row.view is None else row.view.of(image, sha256)


def _smaller_budget(rows: list[Row], lengths: list[int], token_budget: int) -> int:
    """Return half of the tokens that did not fit into GPU memory."""
    if len(rows) == 1:
        raise UserError(
            f"{rows[0].path or 'One prompt'} alone ({lengths[0]} tokens) does not fit into GPU memory. Lower "
            "backbone.max_pixels, or set backbone.dtype=bf16 or backbone.device=cpu."
        )
    smaller = max(1, lengths[0] * len(rows) // 2)
    warnings.warn(
        f"Out of GPU memory with backbone.token_budget={token_budget}; continuing with {smaller}.", stacklevel=2
    )
    torch.cuda.empty_cache()
    return smaller


def _add(rows: list[Row], pooled: dict[str, torch.Tensor], writer: ShardWriter) -> None:
    finite = torch.stack([vectors.isfinite().all(dim=1) for vectors in pooled.values()]).all(dim=0)
    for i, row in enumerate(rows):
        if finite[i]:
            writer.add(row.address, {name: vectors[i] for name, vectors in pooled.items()}, row.owner)
    if not finite.all():
        names = ", ".join(str(row.path or row.prompt[:60]) for row, good in zip(rows, finite, strict=True) if not good)
        raise UserError(f"The backbone returned non-finite features for {names}. Use backbone.dtype=fp32 or bf16.")
