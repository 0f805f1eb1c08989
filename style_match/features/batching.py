"""Batches of a bounded number of tokens, prepared ahead of the model."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from style_match.augmentation import View
from style_match.features.identity import view_address

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
