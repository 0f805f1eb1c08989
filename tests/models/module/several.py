"""Several trainings one after the other in one process, which a follower can import."""

from collections.abc import Callable, Sequence
from typing import Any


def train_each(jobs: Sequence[Callable[..., Any]], *, rank: int = 0) -> list[Any]:
    """The Trainer of each job, all done by this rank; a new process costs more seconds than all of them."""
    return [job(rank=rank) for job in jobs]
