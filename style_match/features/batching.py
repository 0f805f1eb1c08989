"""Batches of a bounded number of tokens, prepared ahead of the model."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from typing import TypeVar

Batch = TypeVar("Batch")
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
    threads: Executor, prepare: Callable[[Batch], Prepared], batches: Iterable[Batch], depth: int
) -> Generator[tuple[Batch, Prepared], None, None]:
    """Yield each batch with `prepare(batch)`, in order, while threads prepare at most `depth` later ones.

    An exception of `prepare` is raised at its batch's turn: those before it are yielded first.
    """
    waiting: deque[tuple[Batch, Future[Prepared]]] = deque()
    try:
        for batch in batches:
            waiting.append((batch, threads.submit(prepare, batch)))
            if len(waiting) > depth:
                first, future = waiting.popleft()
                yield first, future.result()
        while waiting:
            first, future = waiting.popleft()
            yield first, future.result()
    finally:
        for _, future in waiting:
            future.cancel()
