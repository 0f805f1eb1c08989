"""What is read beside the times: waiting for photos, peak memory, padding."""

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import memory
import torch

from style_match.backbone import extractor as extraction
from style_match.backbone.extractor import batch_slices


@contextmanager
def waiting() -> Iterator[list[float]]:
    """Seconds that each batch of `extract` kept the model waiting for its photos."""
    seconds: list[float] = []
    ahead = extraction.prepared_ahead

    def timed(*given: Any, **named: Any) -> Iterator[Any]:
        inner = ahead(*given, **named)
        try:
            while True:
                began = time.perf_counter()
                try:
                    prepared = next(inner)
                except StopIteration:
                    return
                seconds.append(time.perf_counter() - began)
                yield prepared
        finally:
            inner.close()

    extraction.prepared_ahead = timed
    try:
        yield seconds
    finally:
        extraction.prepared_ahead = ahead


def peak_memory(run: Callable[[], object], device: torch.device) -> float:
    """Bytes that a run took at most, above what the process (or the GPU) held before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return torch.cuda.max_memory_allocated(device) - before
    ctypes.CDLL(None).malloc_trim(0)  # what earlier runs have freed is the process's still
    memory.begin_anew()
    before = memory.resident()
    run()
    return memory.highest() - before


def padded_share(lengths: Sequence[int], token_budget: int) -> float:
    """Share of all positions that are padding when photos of these token counts are batched as `extract` does."""
    ordered = sorted(lengths, reverse=True)
    padded = sum(ordered[batch.start] * (batch.stop - batch.start) for batch in batch_slices(ordered, token_budget))
    return 1 - sum(ordered) / padded
