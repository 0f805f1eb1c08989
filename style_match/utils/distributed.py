"""Rows divided among several processes or machines that write into one feature store. Imports no torch."""

import os
import re
from dataclasses import dataclass

from style_match.utils.errors import UserError

# Which one this process is, where a launcher started several of a command side by side.


# Launcher -> its variables of rank, number of processes and rank on this machine. Slurm gives a batch script, and jobs
# of one task, a rank and SLURM_NTASKS too; SLURM_STEP_NUM_TASKS tells how many processes srun really started.
VARIABLES = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
}


@dataclass(frozen=True)
class Launched:
    """`rank` among the `num` processes of all machines, `local_rank` among those of this machine, both from 0."""

    by: str
    rank: int
    num: int
    local_rank: int


def launched() -> Launched | None:
    """What the environment says; None where this process is the only one.

    Raises:
        UserError: the variables of a launcher contradict each other.
    """
    for by, names in VARIABLES.items():
        values = [os.environ.get(name) for name in names]
        if None in values:
            continue
        said = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
        try:
            rank, num, local_rank = (int(value or "") for value in values)
        except ValueError:
            raise UserError(f"{said}: these are no numbers. Unset them, or start the command by {by}.") from None
        if not 0 <= rank < num or local_rank < 0:
            raise UserError(f"{said}: the rank is none of the processes. Unset them, or start the command by {by}.")
        if num > 1:
            return Launched(by, rank, num, local_rank)
    return None


def refuse_several(step: str) -> None:
    """For steps that are one process.

    Raises:
        UserError: a launcher started several.
    """
    if started := launched():
        raise UserError(
            f"{started.by} started {started.num} processes of style_match.{step}, which is one process: start one. "
            "Only style_match.embed divides its work among several; style_match.train starts its own with "
            "trainer.devices=N."
        )


_SHARE = re.compile(r"([1-9]\d*)/([1-9]\d*)")
_DIGITS = 16  # hex digits of an address that decide: 64 bits of a sha256


@dataclass(frozen=True)
class Share:
    """The `number`th, from 1, of `num` shares; `place` says where that was taken from, if not from an option.

    Which share a row is in depends on its address alone: all processes agree, whatever rows the store holds already
    and whenever they start.
    """

    number: int
    num: int
    place: str = ""

    def holds(self, address: str) -> bool:
        """Whether the row of this address (hex sha256) is in the share."""
        return int(address[:_DIGITS], 16) % self.num == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.num}"


def read_share(written: object) -> Share | None:
    """The share that is written so, such as `1/4`; None where it is none."""
    found = _SHARE.fullmatch(str(written))
    share = Share(int(found[1]), int(found[2])) if found else None
    return share if share and share.number <= share.num else None


def share_of_process(asked: str | None) -> Share | None:
    """The share that this process computes: the one asked for, else its part of what a launcher started; None for all.

    Raises:
        UserError: a launcher started several processes, and all of them are asked for one share.
    """
    started = launched()
    if started is None:
        return None if asked is None else read_share(asked)
    if asked is not None:
        raise UserError(
            f"share={asked}: {started.by} started {started.num} processes, and each would compute this share. Leave "
            "share out: each then takes its own."
        )
    return Share(started.rank + 1, started.num, f"{started.by}, process {started.rank + 1} of {started.num}")
