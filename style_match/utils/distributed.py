"""Processes that a launcher (torchrun, srun) started side by side, and rows divided among them. Imports no torch."""

import os
import re
from dataclasses import dataclass

from style_match.utils.errors import UserError

# Launcher -> its variables of rank, number of processes and rank on this machine. Slurm sets SLURM_NTASKS in batch
# scripts too; SLURM_STEP_NUM_TASKS is the number of processes that srun started.
VARIABLES = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK"),
    "srun": ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
}
_SHARE = re.compile(r"([1-9]\d*)/([1-9]\d*)")
_DIGITS = 16  # hex digits of an address that decide: 64 bits of a sha256


@dataclass(frozen=True)
class Launched:
    """One of several processes: `rank` among `num` on all machines, `local_rank` on this machine, both from 0."""

    by: str
    rank: int
    num: int
    local_rank: int


def launched() -> Launched | None:
    """This process as the environment describes it; None if it is the only one.

    Raises:
        UserError: the variables of a launcher contradict each other.
    """
    for by, names in VARIABLES.items():
        values = [os.environ.get(name) for name in names]
        if None in values:
            continue
        try:
            rank, num, local_rank = (int(value or "") for value in values)
            if not 0 <= rank < num or local_rank < 0:
                raise ValueError
        except ValueError:
            given = ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))
            raise UserError(f"{given} contradict each other. Unset them, or start the command with {by}.") from None
        if num > 1:
            return Launched(by, rank, num, local_rank)
    return None


def refuse_several(what: str) -> None:
    """Refuse to run a step, or a sweep, in several processes.

    Raises:
        UserError: a launcher started several.
    """
    if started := launched():
        raise UserError(
            f"{started.by} started {started.num} processes of {what}, which is one process: start one. Only "
            "style_match.embed and a single style_match.train run in several; for a sweep set trainer.devices=N."
        )


@dataclass(frozen=True)
class Share:
    """Share `number` (from 1) of `num`; `place` is the process it was derived from, empty if an option sets it.

    A row belongs to a share by its address, so that all processes agree, whenever they start.
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
    """The share that a text such as `1/4` names; None if it names none."""
    found = _SHARE.fullmatch(str(written))
    share = Share(int(found[1]), int(found[2])) if found else None
    return share if share and share.number <= share.num else None


def share_of_process(asked: str | None) -> Share | None:
    """The share that this process computes: of an option, or of its rank; None for all rows.

    Raises:
        UserError: a launcher started several processes, and an option sets one share for all of them.
    """
    started = launched()
    if started is None:
        return None if asked is None else read_share(asked)
    if asked is not None:
        raise UserError(
            f"share={asked}: {started.by} started {started.num} processes, and each would compute this share. Leave "
            "share out: each process then takes its own."
        )
    return Share(started.rank + 1, started.num, f"{started.by}, process {started.rank + 1} of {started.num}")
