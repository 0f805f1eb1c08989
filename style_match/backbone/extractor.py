"""Computes the rows that a feature store lacks: photo and prompt -> frozen backbone -> every pooling."""

import hashlib
import io
import time
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
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

    from style_match.backbone.processor import Patches
    from style_match.backbone.qwen3_vl import Qwen3VL


# Batches of a bounded number of tokens, prepared ahead of the model.


Batch = TypeVar("Batch")
Item = TypeVar("Item")
Loaded = TypeVar("Loaded")
Prepared = TypeVar("Prepared")


def batch_slices(num_tokens: Sequence[int], token_budget: int, start: int = 0) -> Iterator[slice]:
    """Cut a sequence that falls in token count into batches, as long as their padded tokens allow.

    Args:
        num_tokens: tokens of each item, largest first, so that a batch holds near-equal lengths.
        token_budget: most tokens of a batch once every item is padded to its longest; an item above it goes alone.
        start: the first item to take.
    """
    while start < len(num_tokens):
        stop = min(len(num_tokens), start + max(1, token_budget // max(1, num_tokens[start])))
        yield slice(start, stop)
        start = stop


def prepared_ahead(
    threads: Executor,
    load: Callable[[Item], Loaded],
    collate: Callable[[Batch, list[Future[Loaded]]], Prepared],
    batches: Iterable[tuple[Batch, Sequence[Item]]],
    depth: int,
) -> Generator[tuple[Batch, Prepared], None, None]:
    """Yield each batch prepared, in order, while threads prepare at most `depth` later ones.

    All threads work at the items of the batch that is needed next, so that it is there soonest.

    Args:
        load: makes one item ready.
        collate: makes a batch of its items, which come as futures that end without `collate`'s help; an exception that
            it raises is raised at its batch's turn: those before it are yielded first.
        batches: what names a batch, and its items.
    """

    def gathered(batch: Batch, loaded: list[Future[Loaded]]) -> Prepared:
        try:
            return collate(batch, loaded)
        finally:
            loaded.clear()  # the batch holds copies

    waiting: deque[tuple[Batch, list[Future[Loaded]], Future[Prepared]]] = deque()
    try:
        for batch, items in batches:
            loaded = [threads.submit(load, item) for item in items]
            # In the queue behind its own items: a thread that waits in `collate` waits only for those at work.
            waiting.append((batch, loaded, threads.submit(gathered, batch, loaded)))
            if len(waiting) > depth:
                first, _, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, _, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, loaded, future in reversed(waiting):
            future.cancel()
            for each in reversed(loaded):
                each.cancel()


@dataclass(frozen=True)
class Row:
    """What one feature row is computed from; `width` and `height` in pixels, upright; no path for a prompt alone.

    `view` is of the photo; None for the photo as it is. `owner` is the sha256 (hex) of the photo or, of a prompt alone,
    `owner_of` its profile: what `style_match.forget` finds the row by.
    """

    address: str
    path: Path | None
    prompt: str
    width: int
    height: int
    view: View | None = None
    owner: str | None = None

    def of_view(self, view: View) -> "Row":
        """The row of a view of this row's photo."""
        return replace(self, address=view_address(self.address, view.policy), view=view)


Result = TypeVar("Result")


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
    """Compute each distinct row that `store` lacks once and add it, with all `poolings` of one forward pass.

    Args:
        backbone: called once, and only when rows are missing and the store can be written.
        poolings: name -> function of `style_match.backbone.pooling`.
        token_budget: most padded tokens of a batch; halved with a warning when GPU memory runs out.
        num_workers: threads that decode and preprocess ahead of the model.
        max_source_pixels: bound on the pixels of a photo's file.
        progress: called with (rows done, rows missing).

    Raises:
        UserError: a photo that cannot be read or is not the one its address was made from, the store cannot be written,
            GPU memory does not hold one photo, or a vector is not finite. Rows computed before are kept.
    """
    began = time.perf_counter()
    distinct: dict[str, Row] = {}
    for row in rows:
        distinct.setdefault(row.address, row)
    missing = [distinct[address] for address in store.missing(list(distinct))]
    if missing:
        with store.writer() as writer:
            token_budget = _compute(
                missing, writer, backbone(), poolings, token_budget, num_workers, max_source_pixels, progress
            )
    return Extraction(len(distinct) - len(missing), len(missing), time.perf_counter() - began, token_budget)


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
    """Returns the token budget in force at the end."""
    num_tokens = cache(backbone.num_tokens)  # many photos share prompt and size
    counted = [(num_tokens(row.prompt, row.width, row.height), row) for row in rows]
    counted.sort(key=lambda pair: -pair[0])  # longest first: memory that runs out does so at the start
    lengths = [length for length, _ in counted]
    rows = [row for _, row in counted]

    def load(row: Row) -> "Patches | None":
        return backbone.patchify(_photo(row, max_source_pixels))  # at once: a batch of camera photos would fill memory

    def collate(batch: slice, loaded: "list[Future[Patches | None]]") -> dict[str, torch.Tensor]:
        return backbone.collate(_all_of(photo.result for photo in loaded), [row.prompt for row in rows[batch]])

    done = 0
    progress(done, len(rows))
    with ThreadPoolExecutor(max(1, num_workers), "decode") as threads:
        while done < len(rows):
            batches = ((batch, rows[batch]) for batch in batch_slices(lengths, token_budget, done))
            with closing(prepared_ahead(threads, load, collate, batches, depth=num_workers)) as prepared:
                for batch, inputs in prepared:
                    pooled = _pool(backbone, inputs, poolings)
                    if pooled is None:
                        token_budget = _smaller_budget(rows[batch], lengths[batch], token_budget)
                        break
                    _add(rows[batch], pooled, writer)
                    done = batch.stop
                    progress(done, len(rows))
    return token_budget


def decode_rows(rows: Sequence[Row], max_source_pixels: int) -> list["Image | None"]:
    """The photos of a batch, None for a prompt alone.

    Raises:
        UserError: those that cannot be read or are not the ones their addresses were made from, all together.
    """
    return _all_of(partial(_photo, row, max_source_pixels) for row in rows)


def _all_of(calls: Iterable[Callable[[], Result]]) -> list[Result]:
    """What each call gives; the mistakes of all of them together where there are any."""
    results, faults = [], []
    for call in calls:
        try:
            results.append(call())
        except UserError as error:
            faults.append(str(error))
    if faults:
        raise UserError("\n".join(faults))
    return results


def _photo(row: Row, max_source_pixels: int) -> "Image | None":
    if (path := row.path) is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    sha256 = hashlib.sha256(content).hexdigest()
    # of the two policies the one that the photo has was found when it was checked
    found = [row_address(sha256, policy, row.prompt) for policy in (DECODE_POLICY, COLOUR_POLICY)]
    if row.address not in (found if row.view is None else [view_address(each, row.view.policy) for each in found]):
        raise UserError(f"{path} was changed after it was checked; its features would be another photo's. Run again.")
    image = decode_stream(io.BytesIO(content), str(path), max_source_pixels=max_source_pixels)
    return image if row.view is None else row.view.of(image, sha256)


def _pool(
    backbone: "Qwen3VL", inputs: dict[str, torch.Tensor], poolings: dict[str, Callable]
) -> dict[str, torch.Tensor] | None:
    """Pooling -> (B, D) float32 on the CPU; None when GPU memory ran out."""
    try:
        return {name: vectors.cpu() for name, vectors in backbone.pool(inputs, poolings).items()}
    except torch.OutOfMemoryError:
        return None


def _smaller_budget(rows: list[Row], lengths: list[int], token_budget: int) -> int:
    """Half of what did not fit; said as a warning."""
    if len(rows) == 1:
        raise UserError(
            f"GPU memory does not hold {rows[0].path or 'one prompt'} by itself ({lengths[0]} tokens): lower "
            "backbone.max_pixels, or set backbone.dtype=bf16 or backbone.device=cpu."
        )
    smaller = max(1, lengths[0] * len(rows) // 2)
    warnings.warn(f"GPU memory ran out at backbone.token_budget={token_budget}: going on with {smaller}.", stacklevel=2)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return smaller


def _add(rows: list[Row], pooled: dict[str, torch.Tensor], writer: ShardWriter) -> None:
    finite = torch.stack([vectors.isfinite().all(dim=1) for vectors in pooled.values()]).all(dim=0)
    for i, row in enumerate(rows):
        if finite[i]:
            writer.add(row.address, {name: vectors[i] for name, vectors in pooled.items()}, row.owner)
    if not finite.all():
        names = ", ".join(str(row.path or row.prompt[:60]) for row, good in zip(rows, finite, strict=True) if not good)
        raise UserError(f"The backbone gave values that are not finite for {names}: use backbone.dtype=fp32 or bf16.")
